import { describe, expect, test } from "bun:test";
import { execError, startError } from "./oci-errors.ts";

// texts of crun 1.8.1, 1.21 and runc 1.1.5
const table: [text: string, program: string, exitCode: number, says: string][] = [
  ["executable file `x` not found in $PATH: No such file or directory\n", "x", 127, 'exec: "x": executable file not found in $PATH'],
  ["executable file '/x' not found in $PATH: No such file or directory", "/x", 127, 'exec: "/x": stat /x: no such file or directory'],
  ["open executable: Permission denied", "/x", 126, 'exec: "/x": permission denied'],
  ["open executable: Operation not permitted", "/etc", 126, 'exec: "/etc": permission denied'],
  // crun 1.21
  ["executable file `/x` not found: No such file or directory", "/x", 127, 'exec: "/x": stat /x: no such file or directory'],
  ["the path `/etc/passwd` exists but it is not executable: Operation not permitted", "/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'],
  ["the path `/etc` is not a regular file: Operation not permitted", "/etc", 126, 'exec: "/etc": is a directory: permission denied'],
  ['time="2026" level=error msg="exec: \\"x\\": executable file not found in $PATH"', "x", 127, "executable file not found in $PATH"],
  ['runc create failed: unable to start container process: exec: "/x": permission denied', "/x", 126, "permission denied"],
  ['time="2026" level=error msg="runc create failed: unable to start container process: write \\"5\\""', "x", 128, 'process: write "5": unknown'],
  ['time="2026" level=error msg="runc create failed: error mounting \\"/a\\": not a directory"', "x", 127, "Are you trying to mount a directory onto a file"],
  ["mount `/a` to `/b`: Invalid argument", "x", 128, "mount `/a` to `/b`: Invalid argument"],
  ["mount `/a` to `etc/passwd`: Not a directory", "x", 127, "Are you trying to mount a directory onto a file (or vice-versa)?"],
  ["", "x", 128, "the runtime gave no reason"],
];

describe("a runtime's complaints", () => {
  test.each(table)("%s", (text, program, exitCode, says) => {
    const error = startError(text, [program]);
    expect(error.exitCode).toBe(exitCode);
    expect(error.message).toContain(says);
    expect(error.message.split("unable to start container process")).toHaveLength(2);
    expect(error.message).toStartWith("failed to create task for container: failed to create shim task: OCI runtime create failed: ");
  });

  test("exec", () => {
    expect(execError("chdir to `/nope`: No such file or directory", ["x"]).message).toContain("chdir to cwd");
    expect(execError("executable file `x` not found in $PATH: No such file or directory", ["x"]).exitCode).toBe(127);
    expect(execError("open executable: Permission denied", ["/x"]).exitCode).toBe(126);
    expect(execError("chdir `/nope`: No such file or directory", ["x"]).message).toContain(
      'chdir to cwd ("/nope") set in config.json failed: no such file or directory',
    );
    expect(execError("the container `abc` is not running", ["x"]).kind).toBe("conflict");
  });
});
