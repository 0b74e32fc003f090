// Times of the server, in UTC, as times of the reader.

const SPOKEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const spoken = (moment) => SPOKEN.format(new Date(moment));

/** Turn the times below `root` into the reader's own. */
export function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    time.title = time.textContent;
    time.textContent = spoken(time.dateTime);
  }
}

localize(document);
