import { statSync } from "node:fs";
import { dirname } from "node:path";
import { unavailable } from "../lib/errors.ts";

/** A user namespace's root is nobody special on the host, and must get through to its files. Text as Docker's. @throws EngineError unavailable */
export function checkPassable(path: string): void {
  for (let directory = path; ; directory = dirname(directory)) {
    if ((statSync(directory).mode & 0o001) === 0) {
      throw unavailable(
        `a directory above the containers' roots (${directory}) restricts access for the root of user namespaces: allow 'o+x' permissions on it, or choose another --exec-root`,
      );
    }
    if (directory === dirname(directory)) return;
  }
}
