"use strict";
for (const viewer of document.querySelectorAll("[data-viewer]")) {
  const stage = viewer.querySelector(".stage");
  const under = stage.querySelector(".under"), over = stage.querySelector(".over");
  const range = stage.querySelector("input"), field = viewer.querySelector("[data-view]");
  const shown = { state: "registered", timer: 0 };

  const choose = (name, value) => {
    for (const button of viewer.querySelectorAll(`button[data-${name}]`))
      button.setAttribute("aria-pressed", String(button.dataset[name] === value));
  };
  const paint = () => {
    const { width, height } = field.selectedOptions[0].dataset;
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.setProperty("--side", width / height);
    under.className = `pic under p-${field.value}-fixed`;
    over.className = `pic over p-${field.value}-${shown.state}`;
  };
  const setMode = (mode) => {
    clearInterval(shown.timer);
    stage.classList.remove("off");
    stage.dataset.mode = mode;
    if (mode === "flicker") shown.timer = setInterval(() => stage.classList.toggle("off"), 700);
    choose("mode", mode);
  };
  const setState = (state) => {
    shown.state = state;
    choose("state", state);
    paint();
  };

  range.addEventListener("input", () => stage.style.setProperty("--cut", `${range.value}%`));
  field.addEventListener("change", paint);
  viewer.addEventListener("click", (event) => {
    const { mode, state } = event.target.dataset;
    if (event.target.tagName !== "BUTTON") return;
    if (mode) setMode(mode);
    if (state) setState(state);
  });
}
