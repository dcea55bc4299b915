import { readFileSync } from "node:fs";
import { invalidArgument } from "./errors.ts";

/** A line of /etc/subuid or /etc/subgid (subuid(5)): `size` ids from `start` on are given to `owner`, a name or a number. */
export interface SubordinateRange {
  owner: string;
  start: number;
  size: number;
}

/** All lines of such a file; none where there is no file. @throws EngineError invalidArgument in Docker's words */
export function readSubordinateIds(path: string): SubordinateRange[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw error;
  }
  return parseSubordinateIds(text, path);
}

function parseSubordinateIds(text: string, path: string): SubordinateRange[] {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  return lines.map((line) => {
    const fields = line.split(":");
    if (fields.length !== 3) throw invalidArgument(`cannot parse subuid/gid information: Format not correct for ${path} file`);
    const [owner = "", start = "", size = ""] = fields;
    if (!/^\d{1,10}$/.test(start) || !/^\d{1,10}$/.test(size)) {
      throw invalidArgument(`String to int conversion failed during subuid/gid parsing of ${path}: ${JSON.stringify(line)}`);
    }
    return { owner, start: Number(start), size: Number(size) };
  });
}
