"use strict";
// Two pictures in one place, shown in turn. Without this script, and in print, they stand side by side.
for (const box of document.querySelectorAll(".flicker")) {
  const pages = [...box.querySelectorAll(".stack > div")];
  const names = pages.map((page) => page.querySelector("img").alt);
  const bar = document.createElement("p");
  bar.className = "buttons";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Visit shown");
  let timer = null;
  const buttons = [...names, "flicker"].map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    bar.append(button);
    return button;
  });
  let shown = 0;
  const show = (index) => {
    shown = index;
    pages.forEach((page, i) => page.classList.toggle("off", i !== index));
    buttons.slice(0, 2).forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    buttons[2].setAttribute("aria-pressed", "false");
  };
  buttons.slice(0, 2).forEach((button, i) => button.addEventListener("click", () => { stop(); show(i); }));
  buttons[2].addEventListener("click", () => {
    if (timer !== null) return stop();
    timer = setInterval(() => show(1 - shown), 700);
    buttons[2].setAttribute("aria-pressed", "true");
  });
  box.prepend(bar);
  box.classList.add("live");
  stop();
  show(0);
}
