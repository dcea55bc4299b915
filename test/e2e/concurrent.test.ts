import { describe, expect, test } from "bun:test";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { Engine } from "./harness.ts";
import { randomOf } from "./lanes.ts";

const seed = Number(process.env["BERTH_CONCURRENT_SEED"] ?? Math.floor(Math.random() * 1e6));
const seconds = Number(process.env["BERTH_CONCURRENT_SECONDS"] ?? 8);
const clients = 8;

/** Eight clients do what comes into their minds with ten names. Each answer is one that fits some order of things, and nothing is left at the end. */
describe.skipIf(skipped("root", "overlay", "docker"))(`clients at odds (seed ${seed})`, () => {
  test(
    "get sensible answers, and nothing is lost or left",
    async () => {
      await using engine = await Engine.start();
      await engine.importBusybox();
      await engine.ok("network", "create", "net");
      const random = randomOf(seed);
      const one = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
      const name = (): string => `name${Math.floor(random() * 10)}`;
      const problems: string[] = [];
      const deadline = Date.now() + seconds * 1000;

      const ask = async (method: string, path: string, body?: unknown): Promise<string> => {
        const response = await fetch(`http://engine/v1.47${path}`, {
          unix: engine.socket,
          method,
          keepalive: false,
          signal: AbortSignal.timeout(30_000),
          headers: { "content-type": "application/json" },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        } as RequestInit).catch((error: unknown) => {
          problems.push(`${method} ${path}: ${String(error)}`);
        });
        const text = (await response?.text().catch(String)) ?? "";
        if (response !== undefined && response.status >= 500) problems.push(`${method} ${path}: ${response.status} ${text}`);
        return text;
      };
      const verbs: (() => Promise<unknown>)[] = [
        () =>
          ask("POST", `/containers/create?name=${name()}`, {
            Image: "busybox",
            Cmd: ["sh", "-c", one(["exit 3", "trap 'exit 7' TERM; while :; do sleep 0.1; done", "sleep 0.2", "echo a; sleep 1"])],
            Volumes: random() < 0.3 ? { "/data": {} } : {},
            ExposedPorts: { "80/tcp": {} },
            HostConfig: {
              AutoRemove: random() < 0.2,
              NetworkMode: one(["none", "bridge", "net", "host", `container:${name()}`]),
              ...(random() < 0.3 ? { PortBindings: { "80/tcp": [{ HostPort: one(["", "8080"]) }] } } : {}),
              ...(random() < 0.2 ? { RestartPolicy: { Name: "always" } } : {}),
            },
          }),
        () => ask("POST", `/containers/${name()}/start`),
        () => ask("POST", `/containers/${name()}/start`),
        () => ask("POST", `/containers/${name()}/stop?t=1`),
        () => ask("POST", `/containers/${name()}/kill`),
        () => ask("POST", `/containers/${name()}/restart?t=0`),
        () => ask("POST", `/containers/${name()}/rename?name=${name()}`),
        () => ask("POST", `/containers/${name()}/pause`),
        () => ask("POST", `/containers/${name()}/unpause`),
        () => ask("POST", `/containers/${name()}/update`, { RestartPolicy: { Name: "no" } }),
        () => ask("DELETE", `/containers/${name()}?v=1&force=${one([0, 1, 1])}`),
        () => ask("POST", `/networks/net/connect`, { Container: name() }),
        () => ask("POST", `/networks/net/disconnect`, { Container: name(), Force: one([true, false]) }),
        () => ask("GET", `/containers/${name()}/logs?stdout=1`),
        () => ask("GET", `/containers/${name()}/top`),
        () => ask("GET", `/containers/${name()}/stats?stream=0&one-shot=1`),
        () => ask("GET", `/containers/${name()}/archive?path=/etc`),
        () => ask("GET", `/containers/${name()}/changes`),
        () => ask("GET", "/containers/json?all=1&size=1"),
        () => ask("GET", "/system/df"),
        () => ask("GET", `/containers/${name()}/json?size=1`),
        () => ask("GET", `/containers/${name()}/export`),
        () => ask("POST", `/commit?container=${name()}&repo=made&tag=${name()}`, {}),
        async () => {
          const { Id } = JSON.parse(await ask("POST", `/containers/${name()}/exec`, { Cmd: ["echo", "x"], AttachStdout: true })) as { Id?: string };
          if (Id !== undefined) await ask("POST", `/exec/${Id}/start`, { Tty: false });
        },
      ];
      const client = async (): Promise<void> => {
        while (Date.now() < deadline && problems.length < 20) await one(verbs)();
      };
      await Promise.all(Array.from({ length: clients }, client));
      const errors = engine
        .log()
        .split("\n")
        .filter((line) => /level=error|uncaught|unhandled/.test(line) && !line.includes("restarting a container by its policy"));
      expect([...problems, ...errors]).toEqual([]);
      expect(await lastingInconsistencies(engine)).toEqual([]);
      await engine.removeAll();
      expect(await lastingInconsistencies(engine)).toEqual([]);
    },
    (seconds + 60) * 1000,
  );
});
