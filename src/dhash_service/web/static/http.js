// Requests of the pages to their own service.

/** A problem that the service answered with; `status` is 0 where it did not answer at all. */
export class Problem extends Error {
  constructor(status, title, detail, advice, retryAfter, type = "") {
    super(detail);
    Object.assign(this, { status, title, detail, advice, retryAfter, type });
  }
}

/** The JSON that a path answers with. Raises `Problem`, also where nobody answers within `seconds`. */
export async function ask(path, { method = "GET", body, csrf, seconds = 15, headers = {} } = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (csrf) sent["X-CSRF-Token"] = csrf;
  if (body !== undefined && !(body instanceof Blob) && !(body instanceof FormData)) {
    sent["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, {
      method, body, headers: sent, credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(seconds * 1000),
    });
  } catch {
    throw new Problem(0, "No answer", "The service does not answer.", "It is tried again.");
  }
  const said = await answer.json().catch(() => null);
  if (answer.ok && said !== null) return said;
  if (answer.ok) { // a sign-in page that stands before the service, say: nobody has taken what was sent
    throw new Problem(0, "No answer", "Something else answered for the service.", "It is tried again.");
  }
  const wait = Number(answer.headers.get("Retry-After")) || undefined;
  throw new Problem(
    answer.status, said?.title ?? "It did not work", said?.detail ?? `The service answered ${answer.status}.`, said?.advice ?? "", wait, said?.type,
  );
}

export const post = (path, body, options = {}) => ask(path, { ...options, method: "POST", body });
