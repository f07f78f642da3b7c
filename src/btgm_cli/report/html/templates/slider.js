"use strict";
for (const grid of document.querySelectorAll(".grid")) {
  const shots = [...grid.querySelectorAll("li")];
  const slider = grid.querySelector("input");
  const told = grid.querySelector("output");
  const show = () => {
    shots.forEach((shot, k) => { shot.hidden = k !== Number(slider.value); });
    told.textContent = shots[slider.value].dataset.label;
    slider.setAttribute("aria-valuetext", told.textContent);
  };
  for (const label of grid.querySelectorAll("figcaption")) label.hidden = true;
  grid.querySelector(".controls").hidden = false;
  slider.addEventListener("input", show);
  show();
}
