"""The domains, a folder each: generators, criteria, data, trainings and pictures."""
