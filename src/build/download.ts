import { open, utimes } from "node:fs/promises";
import { basename } from "node:path";
import { invalidArgument, messageOf, unavailable } from "../lib/errors.ts";
import { scratchDirectory, type BuildSession } from "./session.ts";

export function isUrl(text: string): boolean {
  return /^https?:\/\//.test(text);
}

/** Fetches a file for ADD into a directory of its own. Mode 0600 and the server's time, as Docker. @throws EngineError */
export async function download(
  session: BuildSession,
  url: string,
  options: { destination: string; checksum?: string },
): Promise<{ root: string; name: string }> {
  const { output } = session;
  const response = await get(url, session.options.signal);
  const name = fileName(url, response);
  // The name of the file is the destination's where the URL has none.
  if (name === undefined && options.destination.endsWith("/")) throw invalidArgument(`cannot determine filename for source ${url}`);
  const root = await scratchDirectory(session, "url");
  const path = `${root}/${name ?? "__unnamed__"}`;
  const total = Number(response.headers.get("content-length") ?? 0);
  const hasher = new Bun.CryptoHasher("sha256");
  const file = await open(path, "wx", 0o600);
  try {
    let current = 0;
    for await (const chunk of response.body ?? []) {
      await file.writeFile(chunk);
      hasher.update(chunk);
      current += chunk.length;
      output.message({ status: "Downloading", progressDetail: { current, total: total === 0 ? undefined : total } });
    }
    if (total > current && response.headers.get("content-encoding") === null)
      throw unavailable(`fetching ${url}: the server sent ${current} of ${total} bytes`);
  } finally {
    await file.close();
  }
  output.text("\n");
  const digest = `sha256:${hasher.digest("hex")}`;
  if (options.checksum !== undefined && options.checksum !== digest) throw invalidArgument(`digest mismatch ${digest}: ${options.checksum}`);
  const modified = Date.parse(response.headers.get("last-modified") ?? "");
  const time = Number.isNaN(modified) ? 0 : modified / 1000;
  await utimes(path, time, time);
  return { root, name: basename(path) };
}

/** @throws EngineError with Docker's text for an answer that isn't good */
export async function get(url: string, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (error) {
    throw unavailable(`fetching ${url}: ${messageOf(error)}`, error);
  }
  if (response.ok) return response;
  await response.body?.cancel();
  throw invalidArgument(`failed to GET ${url} with status ${response.status} ${response.statusText}`.trim());
}

function fileName(url: string, response: Response): string | undefined {
  const { pathname } = new URL(url);
  const fromPath = pathname.endsWith("/") ? "" : safeName(decodeURIComponent(basename(pathname)));
  if (fromPath !== "") return fromPath;
  const disposition = /filename="?([^";]+)"?/i.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "";
  const fromHeader = safeName(basename(disposition));
  return fromHeader === "" ? undefined : fromHeader;
}

/** The server's word for a file's name is hostile. */
function safeName(name: string): string {
  return name === "." || name === ".." || /[/\0]/.test(name) || Buffer.byteLength(name) > 255 ? "" : name;
}
