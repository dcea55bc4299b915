import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Context } from "./context.ts";
import { forgetLinked, linkVariables } from "./linked.ts";
import type { ContainerRecord } from "./types.ts";

test("variables of a link, as Docker 26.1 makes them", () => {
  const linked = { ExposedPorts: { "81/tcp": {}, "53/udp": {}, "80/tcp": {}, "443/tcp": {} }, Env: ["FOO=bar", "PATH=/bin", "HOME=/", "EMPTY"] };
  expect(linkVariables("web", "my-db", "172.17.0.2", linked)).toEqual([
    "MY_DB_PORT=udp://172.17.0.2:53",
    "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
    "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
    "MY_DB_PORT_53_UDP_PORT=53",
    "MY_DB_PORT_53_UDP_PROTO=udp",
    "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
    "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_80_TCP_PORT=80",
    "MY_DB_PORT_80_TCP_PROTO=tcp",
    "MY_DB_PORT_81_TCP=tcp://172.17.0.2:81",
    "MY_DB_PORT_81_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_81_TCP_PORT=81",
    "MY_DB_PORT_81_TCP_PROTO=tcp",
    "MY_DB_PORT_443_TCP=tcp://172.17.0.2:443",
    "MY_DB_PORT_443_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_443_TCP_PORT=443",
    "MY_DB_PORT_443_TCP_PROTO=tcp",
    "MY_DB_PORT_80_TCP_START=tcp://172.17.0.2:80",
    "MY_DB_PORT_80_TCP_PORT_START=80",
    "MY_DB_PORT_80_TCP_END=tcp://172.17.0.2:81",
    "MY_DB_PORT_80_TCP_PORT_END=81",
    "MY_DB_NAME=/web/my-db",
    "MY_DB_ENV_FOO=bar",
  ]);
});

test("a link's name goes out of /etc/hosts, unless the container has made that too long to be read", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-linked-"));
  const file = join(directory, "hosts");
  const warnings: string[] = [];
  const ctx = { paths: { container: () => directory }, log: { warn: (text: string) => void warnings.push(text) } } as unknown as Context;
  const forget = (): void => forgetLinked(ctx, { id: "a" } as ContainerRecord, "db");
  try {
    forget(); // one that never ran has none
    writeFileSync(file, "127.0.0.1\tlocalhost\n172.17.0.2\tdb data\n");
    forget();
    expect(readFileSync(file, "utf8")).toBe("127.0.0.1\tlocalhost\n");
    expect(warnings).toEqual([]);
    const long = `172.17.0.2\tdb data\n${"#".repeat(1 << 20)}\n`;
    writeFileSync(file, long);
    forget();
    expect(statSync(file).size).toBe(long.length);
    expect(warnings).toHaveLength(1);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
