import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDaemonOptions } from "./options.ts";

function withConfig<T>(text: string, work: (path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "berth-options-"));
  try {
    writeFileSync(join(folder, "daemon.json"), text);
    return work(join(folder, "daemon.json"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("defaults name a socket and a pid file under the run root", () => {
  const options = parseDaemonOptions(["--exec-root", "/run/x", "--config-file", "/dev/null"]);
  expect(options.hosts).toEqual(["unix:///run/x/berth.sock"]);
  expect(options.pidfile).toBe("/run/x/berth.pid");
  expect(options.liveRestore).toBe(true);
  // the host decides: crun, or runc where crun can't serve
  expect(options.defaultRuntime).toBe("");
});

test("flags in all their forms", () => {
  const options = parseDaemonOptions([
    ...["--config-file", "/dev/null", "-H", "unix:///a", "--host=tcp://127.0.0.1:1", "--live-restore=false", "-D"],
    ...["--log-opt", "max-size=1m", "--log-opt=max-file=2", "--shutdown-timeout=3", "--default-ulimit", "nofile=10:20", "--add-runtime=x=/bin/x"],
  ]);
  expect(options.hosts).toEqual(["unix:///a", "tcp://127.0.0.1:1"]);
  expect(options.liveRestore).toBe(false);
  expect(options.debug).toBe(true);
  expect(options.logOpts).toEqual({ "max-size": "1m", "max-file": "2" });
  expect(options.shutdownTimeout).toBe(3);
  expect(options.defaultUlimits).toEqual({ nofile: { Name: "nofile", Soft: 10, Hard: 20 } });
  expect(options.runtimes).toEqual({ x: { path: "/bin/x" } });
});

test("the flags with which other projects' suites start an engine", () => {
  const argv =
    "--config-file /dev/null --data-root /d --exec-root /e --pidfile /p --containerd-namespace n --containerd /c --userland-proxy=false --host unix:///s --debug";
  expect(parseDaemonOptions(argv.split(" "))).toMatchObject({ dataRoot: "/d", execRoot: "/e", pidfile: "/p", hosts: ["unix:///s"] });
});

test.each([
  [["--nope"], "unknown flag --nope"],
  [["--bip"], "flag needs an argument"],
  [["--debug=maybe"], "true or false"],
  [["--shutdown-timeout", "soon"], "whole number"],
  [["--userns-remap", "default"], "not supported yet"],
  [["--icc=false"], "not supported yet"],
  [["--storage-driver", "zfs"], "overlay2"],
  [["word"], "unexpected argument"],
])("%p is refused with a sentence", (argv, message) => {
  expect(() => parseDaemonOptions(["--config-file", "/dev/null", ...argv])).toThrow(message);
});

test("daemon.json gives settings, and is refused where it contradicts the command line or itself", () => {
  withConfig('{"debug": true, "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}], "runtimes": {"r": {"path": "/r"}}}', (path) => {
    expect(parseDaemonOptions(["--config-file", path])).toMatchObject({
      debug: true,
      defaultAddressPools: [{ base: "10.0.0.0/8", size: 24 }],
      runtimes: { r: { path: "/r" } },
    });
    expect(() => parseDaemonOptions(["--config-file", path, "--debug"])).toThrow("both");
  });
  withConfig('{"debug": "yes"}', (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("want bool"));
  withConfig('{"dbug": true}', (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("unknown settings: dbug"));
  withConfig("{", (path) => expect(() => parseDaemonOptions(["--config-file", path])).toThrow("not JSON"));
  expect(() => parseDaemonOptions(["--config-file", "/nowhere/daemon.json"])).toThrow("can't read");
});
