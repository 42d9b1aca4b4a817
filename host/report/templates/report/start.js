// Links that open what they lead to, the theme, and the first drawing.

function openOrigin(id) {
  const target = byId(id);
  const details = target?.closest("details");
  if (!details) return false;
  details.open = true;
  document.querySelector(".blocks section.here")?.classList.remove("here");
  target.classList.add("here");
  details.querySelector("summary").focus({ preventScroll: true });
  target.scrollIntoView({ block: "center" });
  return true;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#m"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (openOrigin(link.hash.slice(1))) {
    event.preventDefault();
    history.pushState(null, "", link.hash);
  }
});
addEventListener("popstate", () => openOrigin(location.hash.slice(1)));

const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);

function nameTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", isDark() ? "Change to the light theme" : "Change to the dark theme");
}

byId("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("boardbench-theme", root.dataset.theme);
  } catch {
    // It lasts as long as the page then.
  }
  nameTheme();
});
prefersDark.addEventListener("change", nameTheme);
nameTheme();

// A plot is drawn when it comes near, and drawn anew when what it shows has changed.
const containers = [...document.querySelectorAll("[data-plot]")];
const near = new Set();
const stale = new Set(containers);
let isDue = false;

function drawDue() {
  isDue = false;
  for (const container of containers) {
    if (near.has(container) && stale.delete(container)) drawPlots(container);
  }
}

function askToDraw() {
  if (!isDue) requestAnimationFrame(drawDue);
  isDue = true;
}

function drawAll() {
  containers.forEach((container) => near.add(container));
  drawDue();
}

const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) near.add(entry.target);
      else near.delete(entry.target);
    }
    askToDraw();
  },
  { rootMargin: "600px 0px" },
);
containers.forEach((container) => watcher.observe(container));

function redraw() {
  containers.forEach((container) => stale.add(container));
  askToDraw();
}

listeners.push(redraw);
addEventListener("beforeprint", drawAll);

let lastWidth = root.clientWidth;
addEventListener("resize", () => {
  if (root.clientWidth === lastWidth) return;
  lastWidth = root.clientWidth;
  redraw();
});

filterRows();
if (location.hash.startsWith("#m")) openOrigin(location.hash.slice(1));
