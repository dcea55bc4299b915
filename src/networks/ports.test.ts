import { expect, test } from "bun:test";
import { silent } from "../lib/log.ts";
import { nextTurn } from "../lib/turns.ts";
import { type Address, formatAddress, parseAddress } from "../lib/address.ts";
import { parseBindings } from "./port-requests.ts";
import { HostPorts, PORTS_AT_ONCE, type PortTarget } from "./ports.ts";

const anywhere = parseAddress("0.0.0.0")!;
const shown = (bindings: Parameters<typeof parseBindings>[0], host = anywhere, ipv6 = true) =>
  parseBindings(bindings, host, ipv6).map(
    (r) => `${r.hosts.map(formatAddress).join(",")} ${r.range === undefined ? "*" : `${r.range.first}-${r.range.last}`} ${r.containerPort}/${r.proto}`,
  );

test("bindings are read as Docker reads them, exact ports first", () => {
  expect(
    shown({ "80/tcp": [{}, { HostPort: "8080" }], "53/udp": [{ HostIp: "127.0.0.1", HostPort: "5300-5309/udp" }], "81": [{ HostIp: "[::1]", HostPort: "0" }] }),
  ).toEqual(["0.0.0.0,:: 8080-8080 80/tcp", "127.0.0.1 5300-5309 53/udp", "0.0.0.0,:: * 80/tcp", "::1 * 81/tcp"]);
  expect(shown({ "80/tcp": [{ HostPort: "1" }] }, anywhere, false)).toEqual(["0.0.0.0 1-1 80/tcp"]);
  expect(shown({ "80/tcp": [{ HostPort: "1" }] }, parseAddress("10.0.0.1")!)).toEqual(["10.0.0.1 1-1 80/tcp"]);
  expect(shown({ "80/tcp": null })).toEqual([]);
});

test("nonsense in bindings is refused by name", () => {
  const bad = (key: string, binding: object = {}) => expect(() => parseBindings({ [key]: [binding] }, anywhere, true));
  bad("0/tcp").toThrow('"0/tcp"');
  bad("80/icmp").toThrow('"80/icmp"');
  bad("70000").toThrow('"70000"');
  bad("80/tcp", { HostPort: "70000" }).toThrow('"70000"');
  bad("80/tcp", { HostPort: "20-10" }).toThrow('"20-10"');
  bad("80/tcp", { HostPort: "-1" }).toThrow('"-1"');
  bad("80/tcp", { HostIp: "localhost" }).toThrow('"localhost"');
});

test("a port is held against other containers and other processes until it is released", () => {
  const ports = new HostPorts({ dnat: { 4: true, 6: true }, log: silent });
  const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const local = parseAddress("127.0.0.1")!;
  const target = { ipv4: parseAddress("172.17.0.2")! };
  const exact = (port: number, host = local) => [{ proto: "tcp" as const, containerPort: 80, hosts: [host], range: { first: port, last: port } }];
  try {
    expect(() => ports.reserve("a", exact(other.port), target)).toThrow(`failed to bind host port 127.0.0.1:${other.port}/tcp: address already in use`);
    const [free] = ports.reserve("a", [{ proto: "tcp", containerPort: 80, hosts: [local] }], target);
    expect(() => ports.reserve("b", exact(free!.hostPort), target)).toThrow(`Bind for 127.0.0.1:${free!.hostPort} failed: port is already allocated`);
    expect(() => ports.reserve("b", exact(free!.hostPort, anywhere), target)).toThrow("port is already allocated");
    expect(() => Bun.listen({ hostname: "127.0.0.1", port: free!.hostPort, socket: { data() {} } })).toThrow();
    ports.release("a");
    expect(ports.reserve("b", exact(free!.hostPort), target)[0]!.hostPort).toBe(free!.hostPort);
    expect(() => ports.reserve("c", exact(free!.hostPort, parseAddress("203.0.113.7")!), target)).toThrow("cannot assign requested address");
  } finally {
    ports.close();
    other.stop(true);
  }
});

test("of several ports all or none are taken", () => {
  const ports = new HostPorts({ dnat: { 4: true, 6: true }, log: silent });
  const local = parseAddress("127.0.0.1")!;
  const target = { ipv4: parseAddress("172.17.0.2")! };
  try {
    const [first] = ports.reserve("a", [{ proto: "udp", containerPort: 53, hosts: [local] }], target);
    const range = { first: first!.hostPort, last: first!.hostPort };
    const free = { proto: "tcp" as const, containerPort: 1, hosts: [local], range };
    expect(() => ports.reserve("b", [free, { proto: "udp", containerPort: 2, hosts: [local], range }], target)).toThrow("already allocated");
    expect(ports.reserve("c", [free], target)).toHaveLength(1);
  } finally {
    ports.close();
  }
});

test("many ports are reserved with everything else in between, and still all or none of them", async () => {
  const ports = new HostPorts({ dnat: { 4: true, 6: true }, log: silent });
  const local = parseAddress("127.0.13.1")!;
  const target = { ipv4: parseAddress("172.17.0.2")! };
  const first = 21_000;
  const count = 5 * PORTS_AT_ONCE;
  const exact = (port: number) => ({ proto: "tcp" as const, containerPort: 80, hosts: [local], range: { first: port, last: port } });
  const all = Array.from({ length: count }, (_, i) => exact(first + i));
  const last = first + count - 1;
  const allBut = (port: number): void => {
    expect(
      ports.reserve(
        "c",
        all.filter(({ range }) => range.first !== port),
        target,
      ),
    ).toHaveLength(count - 1);
    ports.release("c");
  };
  let turns = 0;
  let next: ReturnType<typeof setImmediate>;
  const turn = (): void => {
    turns++;
    next = setImmediate(turn);
  };
  turn();
  const other = Bun.listen({ hostname: "127.0.13.1", port: last, socket: { data() {} } });
  try {
    await expect(ports.reserveInTurns("a", all, target)).rejects.toThrow(`failed to bind host port 127.0.13.1:${last}/tcp: address already in use`);
    expect(turns).toBeGreaterThanOrEqual(4);
    allBut(last);
    other.stop(true);

    // what is on record is known before anything is tried
    ports.reserve("b", [exact(last)], target);
    turns = 0;
    await expect(ports.reserveInTurns("a", all, target)).rejects.toThrow(`Bind for 127.0.13.1:${last} failed: port is already allocated`);
    expect(turns).toBe(0);
    allBut(last);
    ports.release("b");

    // its container ends in between
    const pending = ports.reserveInTurns("a", all, target);
    await nextTurn();
    ports.release("a");
    await expect(pending).rejects.toThrow("was cancelled");
    expect(ports.reserve("c", all, target)).toHaveLength(count);
    ports.release("c");

    expect(await ports.reserveInTurns("a", all, target)).toEqual(
      all.map(({ range }) => ({ proto: "tcp", containerPort: 80, hostIp: "127.0.13.1", hostPort: range.first })),
    );
    expect([ports.hasMany("a"), ports.hasMany("b")]).toEqual([true, false]);
    turns = 0;
    const withdrawn: number[] = [];
    await ports.releaseInTurns("a", (rules) => void withdrawn.push(...rules.map(({ hostPort }) => hostPort)));
    expect(turns).toBeGreaterThanOrEqual(4);
    expect(withdrawn).toEqual(all.map(({ range }) => range.first));
    expect(ports.reserve("c", all, target)).toHaveLength(count);
  } finally {
    clearImmediate(next!);
    ports.close();
    other.stop(true);
  }
});

test("DNAT serves the same family; IPv6 to an IPv4 container and hosts without rules go through the proxy", () => {
  const target = { ipv4: parseAddress("172.17.0.2")! };
  for (const dnat of [true, false]) {
    const ports = new HostPorts({ dnat: { 4: dnat, 6: dnat }, log: silent });
    ports.reserve("a", [{ proto: "tcp", containerPort: 80, hosts: [parseAddress("127.0.0.1")!] }], target);
    expect(ports.serve("a")).toHaveLength(dnat ? 1 : 0);
    expect(ports.rulesOf("a")).toHaveLength(dnat ? 1 : 0);
    ports.close();
    expect(ports.rulesOf("a")).toEqual([]);
  }
});

test("without proxies a port is published in the container's own families alone", () => {
  const ports = new HostPorts({ dnat: { 4: true, 6: true }, proxies: false, log: silent });
  const any6 = parseAddress("::")!;
  const v4 = { ipv4: parseAddress("172.17.0.2")! };
  const shown = (id: string, hosts: Address[], target: PortTarget): string[] =>
    ports.reserve(id, [{ proto: "tcp", containerPort: 80, hosts }], target).map(({ hostIp }) => hostIp);
  try {
    expect(shown("a", [anywhere, any6], v4)).toEqual(["0.0.0.0"]);
    expect(shown("b", [any6], v4)).toEqual([]);
    expect(shown("c", [anywhere, any6], { ...v4, ipv6: parseAddress("fd00::2")! })).toEqual(["0.0.0.0", "::"]);
    expect(() => ports.reserve("d", [{ proto: "sctp", containerPort: 80, hosts: [any6] }], v4)).toThrow("the container has no address of that family");
  } finally {
    ports.close();
  }
});

test("a port that another process had is counted once it is taken back; one that is given up for a moment is nobody else's to take back", () => {
  const ports = new HostPorts({ dnat: { 4: true, 6: true }, log: silent });
  const other = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const local = parseAddress("127.0.0.1")!;
  const target = { ipv4: parseAddress("172.17.0.2")! };
  const published = { proto: "tcp" as const, containerPort: 80, hostIp: "127.0.0.1", hostPort: other.port };
  const tooMany = new Array(2_000_000).fill({ proto: "tcp", containerPort: 80, hosts: [local] });
  const held = (count: number) => expect(() => ports.reserve("b", tooMany, target)).toThrow(`: ${count} are held already`);
  try {
    ports.restore("a", [published], target);
    held(0);
    const [lost] = ports.unheld();
    expect(() => lost!.retake()).toThrow("address already in use");
    other.stop(true);
    lost!.retake();
    expect(ports.unheld()).toEqual([]);
    held(1);
    const suspended = ports.suspend("a", [published]);
    expect(ports.unheld()).toEqual([]);
    suspended.resume();
    held(1);
    ports.release("a");
    held(0);
  } finally {
    ports.close();
    other.stop(true);
  }
});
