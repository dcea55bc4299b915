import { expect, describe, test } from "bun:test";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { Engine } from "./harness.ts";
import { RawClient } from "./raw-client.ts";

describe.skipIf(skipped("root", "overlay", "docker"))("a container whose root is held open", () => {
  test("ends, starts anew and goes, whoever exports it slowly or stands in it", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const ids = await Promise.all(
      ["again", "gone", "entered"].map((name) =>
        engine.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "[ -e /big ] || dd if=/dev/zero of=/big bs=1M count=30; echo ready; exec sleep 1000"),
      ),
    );
    const exports = await Promise.all(
      ids.slice(0, 2).map(async (id) => {
        const client = new RawClient(engine.socket, `GET /containers/${id}/export HTTP/1.1\r\nHost: x\r\n\r\n`);
        expect(await client.head()).toStartWith("HTTP/1.1 200 OK");
        client.socket.pause();
        return client;
      }),
    );
    const visitor = Bun.spawn(["sleep", "1000"], { cwd: `${engine.root}/run/bundles/${ids[2]}/rootfs` });
    try {
      await engine.ok("kill", ...ids);
      await engine.ok("start", "again", "entered");
      expect(await engine.ok("exec", "again", "ls", "/big")).toBe("/big");
      expect(await engine.ok("exec", "entered", "ls", "/big")).toBe("/big");
      await engine.ok("rm", "-f", ...ids);
      expect(await lastingInconsistencies(engine)).toEqual([]);
    } finally {
      visitor.kill();
      await visitor.exited;
      for (const { socket } of exports) socket.destroy();
    }
  });
});
