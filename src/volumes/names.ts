import { invalidArgument } from "../lib/errors.ts";

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const longestName = 255;

/** What the local driver takes, in Docker's words. @throws EngineError invalidArgument */
export function checkName(name: string): void {
  const refuse = (why: string): Error => invalidArgument(`create ${name}: ${why}`);
  if (name.length === 1) throw refuse("volume name is too short, names should be at least two alphanumeric characters");
  if (!namePattern.test(name)) {
    throw refuse(
      `${JSON.stringify(name)} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ` +
        "If you intended to pass a host directory, use absolute path",
    );
  }
  if (name.length > longestName) throw refuse(`volume name is too long, it may have ${longestName} characters`);
}
