// What the page needs beyond Gradio's own components; nothing here talks to a server.

// A click on [data-do] inside one of our HTML blocks goes to Python with its data attributes.
window.thClick = (element, trigger) => {
  element.addEventListener("click", (event) => {
    const target = event.target.closest("[data-do]");
    if (!target || !element.contains(target)) return;
    if ("sure" in target.dataset && !target.dataset.asked) {
      target.dataset.asked = "yes";
      target.textContent = "Really delete?";
      return;
    }
    const sent = { ...target.dataset };
    if (sent.do === "point") {
      const frame = target.getBoundingClientRect();
      sent.x = ((event.clientX - frame.left) / frame.width) * Number(sent.width);
      sent.y = ((event.clientY - frame.top) / frame.height) * Number(sent.height);
    }
    trigger("click", sent);
  });
};

// A video that is replaced while it grows goes on where it was.
const places = {};
const kept = (event) => event.target.dataset && event.target.dataset.keep;
document.addEventListener("timeupdate", (event) => {
  const key = kept(event);
  if (key) places[key] = { at: event.target.currentTime, plays: !event.target.paused };
}, true);
document.addEventListener("pause", (event) => {
  const key = kept(event);
  if (key && places[key] && event.target.isConnected) places[key].plays = event.target.ended;
}, true);
document.addEventListener("loadedmetadata", (event) => {
  const place = places[kept(event)];
  if (!place || place.at >= event.target.duration) return;
  event.target.currentTime = place.at;
  if (place.plays) event.target.play().catch(() => {});
}, true);

document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("[data-copy]");
  if (!button) return;
  const text = button.closest("details").querySelector("pre").textContent;
  navigator.clipboard.writeText(text).then(
    () => { button.textContent = "Copied"; },
    () => { button.textContent = "Select the text and copy it"; },
  );
});

// A finger or a key on "Make the video" should end where the video will be.
window.thShow = (id) => {
  const target = document.getElementById(id);
  if (!target || target.getBoundingClientRect().top < window.innerHeight * 0.7) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  target.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
};

// What was pressed leads to something new; the focus follows there, as the button may be gone.
const leads = [
  ["#th-make, #th-retry, #th-cancel", "#th-board [role=alert] h2, #th-sheet h2"],
  ["#th-again, #th-past-again", "#th-returned h2, #th-returned p"],
  ["[data-do=open]", "#th-opened video"],
];
let wanted = null;
document.addEventListener("click", (event) => {
  const lead = event.target.closest && leads.find(([from]) => event.target.closest(from));
  if (lead) wanted = { from: lead[0], to: lead[1], before: document.querySelector(lead[1]) };
}, true);

const follow = () => {
  const target = wanted && document.querySelector(wanted.to);
  if (!target || target === wanted.before) return;
  const at = document.activeElement;
  if (!at || at === document.body || at.closest(wanted.from)) { // whoever went on is not called back
    target.tabIndex = target.matches("video") ? 0 : -1;
    target.focus({ preventScroll: true });
  }
  wanted = null;
};

// Screen readers hear what this block says.
const speak = () => {
  const block = document.getElementById("th-announce");
  if (!block || block.getAttribute("aria-live")) return;
  block.setAttribute("aria-live", "polite");
  block.setAttribute("role", "status");
};

new MutationObserver(() => { speak(); follow(); })
  .observe(document.documentElement, { childList: true, subtree: true });
