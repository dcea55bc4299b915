import { EngineError } from "../lib/errors.ts";

const PREFIX =
  "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";

/**
 * A runtime's complaint about `create`, in the words that Docker's clients match (`executable file not found in $PATH`, `permission denied`,
 * `no such file or directory`), with the exit code that Docker then records: 127 for a missing program, 126 for one that can't be run, else 128.
 */
export function startError(text: string, args: readonly string[]): EngineError {
  const problem = programProblem(text, args[0] ?? "");
  if (problem !== undefined) {
    return new EngineError("invalidArgument", `${PREFIX}error during container init: exec: ${problem.text}: unknown`, { exitCode: problem.exitCode });
  }
  const reason = clean(text) || "the runtime gave no reason";
  if (/^(?:.*: )?(?:mount `|error mounting ").*: not a directory$/i.test(reason)) {
    const hint = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";
    return new EngineError("invalidArgument", `${PREFIX}${reason}: unknown: ${hint}`, { exitCode: 127 });
  }
  const shown = /\/attr\/(?:apparmor\/)?exec\b/.test(text) ? `unable to apply apparmor profile: is it loaded? (${reason})` : reason;
  return new EngineError("invalidArgument", `${PREFIX}${shown}: unknown`, { exitCode: 128 });
}

/** The same for an exec. */
export function execError(text: string, args: readonly string[]): EngineError {
  const problem = programProblem(text, args[0] ?? "");
  const prefix = "OCI runtime exec failed: exec failed: unable to start container process: ";
  if (problem !== undefined) return new EngineError("invalidArgument", `${prefix}exec: ${problem.text}: unknown`, { exitCode: problem.exitCode });
  const cwd = /chdir (?:to )?`([^`]*)`/.exec(text)?.[1];
  if (cwd !== undefined) {
    const says = `chdir to cwd (${JSON.stringify(cwd)}) set in config.json failed: no such file or directory`;
    return new EngineError("invalidArgument", `${prefix}${says}: unknown`, { exitCode: 127 });
  }
  const isGone = /is not running|does not exist/.test(text);
  if (isGone) return new EngineError("conflict", `cannot exec in a stopped container: ${clean(text)}`, { exitCode: 126 });
  return new EngineError("invalidArgument", `${prefix}${clean(text) || "the runtime gave no reason"}: unknown`, { exitCode: 126 });
}

/** crun and runc in their own words; undefined where the program isn't what they complain of. */
function programProblem(text: string, program: string): { text: string; exitCode: number } | undefined {
  const quoted = JSON.stringify(program);
  // crun up to 1.8 says "in $PATH" for absolute paths as well; later ones leave it away there
  if (/executable file (.* )?not found( in \$PATH|:)/.test(text)) {
    // Docker has looked at the file itself
    if (program.includes("/")) return { text: `${quoted}: stat ${program}: no such file or directory`, exitCode: 127 };
    return { text: `${quoted}: executable file not found in $PATH`, exitCode: 127 };
  }
  if (/the path `[^`]*` exists but it is not executable/.test(text)) return { text: `${quoted}: permission denied`, exitCode: 126 };
  if (/the path `[^`]*` is not a regular file/.test(text)) return { text: `${quoted}: is a directory: permission denied`, exitCode: 126 };
  if (/open executable: |exec: |stat [^:]+: |cannot find|exec container process/.test(text)) {
    if (/no such file or directory/i.test(text)) return { text: `${quoted}: stat ${program}: no such file or directory`, exitCode: 127 };
    if (/is a directory/i.test(text)) return { text: `${quoted}: is a directory: permission denied`, exitCode: 126 };
    if (/permission denied|operation not permitted/i.test(text)) return { text: `${quoted}: permission denied`, exitCode: 126 };
    if (/not a directory/i.test(text)) return { text: `${quoted}: stat ${program}: not a directory`, exitCode: 126 };
  }
  return undefined;
}

const colours = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g");

/** What runc says of itself stands before all reasons here. */
const runcsPrefix = /^(?:runc create|exec) failed: (?:unable to start container process: )?/;

/** Of a line in runc's form (logrus quotes as Go does), else the line. */
function message(line: string): string {
  const quoted = /^time="[^"]*" level=\w+ msg="?(.*?)"?$/.exec(line)?.[1];
  return quoted === undefined ? line : quoted.replace(/\\(["\\])/g, "$1");
}

/** The runtime's lines without its timestamps, levels and colours. */
function clean(text: string): string {
  const lines = text
    .replaceAll(colours, "")
    .split("\n")
    .map((line) =>
      message(line)
        .replace(/^\d{4}-\d\d-\d\dT\S+: /, "")
        .replace(runcsPrefix, "")
        .trim(),
    )
    .filter(Boolean);
  return lines.join("; ");
}
