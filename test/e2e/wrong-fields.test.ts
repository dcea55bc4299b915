import { describe, expect, test } from "bun:test";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { suiteEngine } from "./harness.ts";
import { randomOf } from "./lanes.ts";

const seed = Number(process.env["BERTH_GARBAGE_SEED"] ?? Math.floor(Math.random() * 1e6));
const requests = Number(process.env["BERTH_FIELD_REQUESTS"] ?? 900);

type Request = { method: string; path: string; body: Record<string, unknown> };

/** Requests that would do, but for a field or two: what garbage.test.ts sends is refused long before the code that makes networks and volumes. */
describe.skipIf(skipped("root", "overlay", "docker"))(`networks and volumes asked for with wrong fields (seed ${seed})`, () => {
  const engine = suiteEngine();
  const random = randomOf(seed);
  const one = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;

  const kept = ["net", "bridge", "host", "none"];
  const strings =
    "\0|a\0b|.|..|/|../../etc|a/b|a\nb|💥|\ud800| |-1|0|1|65536|1e9|999999999999999999999|true|nan|[]|0.0.0.0|::|0.0.0.0/0|::/0|255.255.255.255/32|10.0.0.0/33|10.0.0.0/-1|10.0.0.0/31|01.2.3.4/8|127.0.0.1/8|224.0.0.1/4|10.250.0.0/16|10.250.0.5|fe80::/10|fe80::1%eth0|ff00::/8|::ffff:1.2.3.4/112|fd00::1/128|02:42:ac:11:00:02|ff:ff:ff:ff:ff:ff|00:00:00:00:00:00|lo|eth0|bridge|host|none|null|overlay|macvlan|ipvlan|default|isolated|routed|nfs|tmpfs|bind|ext4|/dev/null|/proc/self/mem|o=bind|bind,ro|size=-1|addr=..|,,,,|%s%n|'; drop table networks; --"
      .split("|")
      .concat("", "a".repeat(300), "a".repeat(70_000));
  const others: unknown[] = [null, true, false, 0, -1, 1.5, 1e308, 2 ** 53, -(2 ** 63), [], {}, [null], [[]], { "": "" }, { a: null }, { a: { b: [] } }];
  const bridge = "com.docker.network.bridge.";
  const options = [
    ...["name", "enable_icc", "enable_ip_masquerade", "host_binding_ipv4", "inhibit_ipv4", "trusted_host_interfaces"].map((name) => bridge + name),
    ...["gateway_mode_ipv4", "gateway_mode_ipv6"].map((name) => bridge + name),
    ...["driver.mtu", "container_iface_prefix", "host_ipv4", "host_ipv6", "enable_ipv6"].map((name) => `com.docker.network.${name}`),
    ...["parent", "macvlan_mode", "ipvlan_flag", "__proto__"],
  ];

  const post = (path: string, body: Request["body"]): Request => ({ method: "POST", path, body });
  const right: ((n: number) => Request)[] = [
    (n) => {
      const config = { Subnet: `10.250.${n % 250}.0/24`, IPRange: `10.250.${n % 250}.0/25`, Gateway: `10.250.${n % 250}.1`, AuxiliaryAddresses: {} };
      return post("/networks/create", {
        ...{ Name: `n${n}`, Driver: "bridge", Scope: "", Internal: false, Attachable: false, Ingress: false, ConfigOnly: false, ConfigFrom: { Network: "" } },
        ...{ EnableIPv4: true, EnableIPv6: false, IPAM: { Driver: "default", Options: {}, Config: random() < 0.6 ? [config] : [] }, Labels: { a: "b" } },
        Options: { [one(options)]: one(["1", "true", "1400", "nat", "isolated", "br-given", "0.0.0.0"]) },
      });
    },
    () =>
      post(`/networks/${one(["net", "net", "bridge", "host"])}/connect`, {
        Container: "there",
        EndpointConfig: {
          ...{ IPAMConfig: { IPv4Address: "10.249.0.77", IPv6Address: "", LinkLocalIPs: [] }, Links: [], Aliases: ["a"], MacAddress: "02:42:0a:f9:00:4d" },
          ...{ DriverOpts: { "com.docker.network.endpoint.ifname": "net7" }, GwPriority: 1 },
        },
      }),
    () => post(`/networks/${one(["net", "bridge"])}/disconnect`, { Container: "there", Force: one([true, false]) }),
    (n) => post("/volumes/create", { Name: `v${n}`, Driver: "local", DriverOpts: one([{}, { type: "tmpfs", device: "tmpfs", o: "size=1m" }]), Labels: {} }),
    (n) => post(`/berth/volumes/vol/${one(["clone", "snapshot"])}`, { Name: `w${n}`, Labels: { a: "b" } }),
    (n) =>
      post(`/containers/create?name=k${n}`, {
        ...{ Image: "busybox", Cmd: ["true"] },
        HostConfig: {
          ...{ NetworkMode: "net", Binds: ["vol:/x:ro"], PortBindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] } },
          Mounts: [
            { Type: "volume", Source: `k${n}`, Target: "/y", VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: "local", Options: {} } } },
          ],
        },
        NetworkingConfig: { EndpointsConfig: { net: { IPAMConfig: { IPv4Address: "10.249.0.78" }, Aliases: ["b"], DriverOpts: {}, MacAddress: "" } } },
      }),
  ];

  /** Makes one field something else, of its own type as a rule: other types are refused at the door. */
  function spoil(body: Request["body"]): void {
    const places: { holder: Record<string, unknown>; key: string }[] = [];
    const walk = (holder: Record<string, unknown>): void => {
      for (const [key, value] of Object.entries(holder)) {
        places.push({ holder, key });
        if (typeof value === "object" && value !== null) walk(value as Record<string, unknown>);
      }
    };
    walk(body);
    const { holder, key } = one(places);
    holder[key] = typeof holder[key] === "string" && random() < 0.85 ? one(strings) : structuredClone(one(others));
  }

  async function present(): Promise<void> {
    await engine.docker(["network", "create", "--subnet", "10.249.0.0/24", "net"]);
    await engine.docker(["volume", "create", "vol"]);
    await engine.docker(["run", "-d", "--name", "there", "--network", "net", "busybox", "sleep", "100000"]);
  }

  /** All that there is must be there to be looked at, and go when it is told to. */
  async function clear(): Promise<string[]> {
    const wrong: string[] = [];
    const expectStatus = async (wanted: number, method: string, path: string): Promise<void> => {
      const answer = await engine.api(method, path);
      if (answer.status !== wanted) wrong.push(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    };
    await engine.removeAll();
    for (const { Id, Name } of (await (await engine.api("GET", "/networks")).json()) as { Id: string; Name: string }[]) {
      await expectStatus(200, "GET", `/networks/${Id}`);
      if (!kept.includes(Name)) await expectStatus(204, "DELETE", `/networks/${Id}`);
    }
    for (const { Name } of ((await (await engine.api("GET", "/volumes")).json()) as { Volumes: { Name: string }[] }).Volumes) {
      await expectStatus(200, "GET", `/volumes/${Name}`);
      await expectStatus(204, "DELETE", `/volumes/${Name}`);
    }
    await engine.docker(["network", "rm", "net"]);
    return wrong;
  }

  test("are made whole or refused with the reason", async () => {
    const failures: string[] = [];
    const ask = async ({ method, path, body }: Request): Promise<Response> => {
      const answer = await engine.api(method, `/v1.${one([41, 47, 55])}${path}`, body);
      // a network that is the kernel's to make, or the swarm's
      if (answer.status >= 500 && ![501, 503].includes(answer.status))
        failures.push(`${path} ${JSON.stringify(body).slice(0, 1500)}\n  => ${answer.status} ${await answer.clone().text()}`);
      return answer;
    };
    await present();
    for (let n = 0; n < requests; n++) {
      const request = one(right)(n);
      for (let i = Math.floor(random() * 3); i > 0; i--) spoil(request.body);
      const answer = await ask(request);
      const text = await answer.text();
      if (answer.status === 201 && request.path.startsWith("/containers/")) await ask(post(`/containers/${(JSON.parse(text) as { Id: string }).Id}/start`, {}));
      if (n % 150 !== 149) continue;
      failures.push(...(await clear()));
      await present();
    }
    failures.push(...(await clear()));
    expect(failures).toEqual([]);
    expect(
      engine
        .log()
        .split("\n")
        .filter((line) => /uncaught|unhandled|request handler failed|level=error|could not take/.test(line)),
    ).toEqual([]);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  }, 120_000);
});
