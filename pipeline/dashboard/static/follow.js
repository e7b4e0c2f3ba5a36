"use strict";
// Ask once a second for the sections of a run that is going on; load the page anew when it has ended.
const live = document.getElementById("live");
async function follow() {
  try {
    const answer = await fetch(live.dataset.from, { cache: "no-store" });
    if (answer.headers.get("X-Run-Status") !== "running") {
      location.reload();
      return;
    }
    const text = await answer.text();
    // Don't pull the text away from under a reader's selection.
    if (document.getSelection().isCollapsed) live.innerHTML = text;
  } catch (error) {
    // The dashboard was stopped: ask again, it may come back.
  }
  setTimeout(follow, 1000);
}
setTimeout(follow, 1000);
