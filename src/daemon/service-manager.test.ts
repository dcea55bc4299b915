import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notifySocket } from "../../test/unix-sockets.ts";
import { silent } from "../lib/log.ts";
import { takeServiceManager } from "./service-manager.ts";

test("a service manager hears of each step, and the variables that name it go no further", async () => {
  const folder = mkdtempSync(join(tmpdir(), "berth-notify-"));
  try {
    using socket = notifySocket(join(folder, "notify"));
    const env: Record<string, string | undefined> = { NOTIFY_SOCKET: join(folder, "notify"), WATCHDOG_USEC: "20000", WATCHDOG_PID: "7", HOME: "/" };
    using manager = takeServiceManager(env, 7, silent);
    expect(env).toEqual({ HOME: "/" });
    manager.ready("here");
    manager.reloading();
    manager.stopping(2);
    const [ready, reloading, stopping] = socket.read();
    expect(ready).toBe("READY=1\nSTATUS=here");
    expect(reloading).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    expect(stopping).toBe("STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC=2000000");
    let alive: string[] = [];
    while (alive.length === 0) {
      await Bun.sleep(5);
      alive = socket.read();
    }
    expect(alive[0]).toBe("WATCHDOG=1");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("without one nothing is sent, and one that went away harms nobody", () => {
  using nobody = takeServiceManager({}, 7, silent);
  nobody.ready("x");
  using gone = takeServiceManager({ NOTIFY_SOCKET: "/nowhere/notify" }, 7, silent);
  gone.ready("x");
  using abstract = takeServiceManager({ NOTIFY_SOCKET: "@berth-test-nobody-listens" }, 7, silent);
  abstract.stopping(1);
});
