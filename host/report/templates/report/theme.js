"use strict";
// In the head, so that a page never flashes in the other theme.
document.documentElement.classList.add("scripted");
try {
  const theme = localStorage.getItem("boardbench-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A page that may store nothing follows the system.
}
