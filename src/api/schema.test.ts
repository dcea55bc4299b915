import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { createRequest } from "./containers/schemas.ts";
import { toCreateOptions } from "./containers/create.ts";
import { bool, check, int, list, map, object, set, text, words } from "./schema.ts";

describe("reading as Go does", () => {
  const schema = object({ Name: text.optional(), Inner: object({ Size: int.optional() }).optional(), Cmd: words.optional() });

  test("keys in any case, the last one counts", () => {
    expect(check(schema, { name: "a", INNER: { size: 3 } })).toEqual({ Name: "a", Inner: { Size: 3 } });
    expect(check(schema, { Name: "a", NAME: "b" })).toEqual({ Name: "b" });
  });
  test("unknown keys are ignored", () => expect(check(schema, { Name: "a", Future: { x: 1 } })).toEqual({ Name: "a" }));
  test("null counts as absent", () => expect(check(schema, { Name: null, Inner: null, Cmd: null })).toEqual({}));
  test("a command line may be one text", () => expect(check(schema, { Cmd: "sh" })).toEqual({ Cmd: ["sh"] }));
  test("null elements of lists are dropped, null values of maps kept", () => {
    expect(check(list(object({ A: text })), [{ A: "x" }, null])).toEqual([{ A: "x" }]);
    expect(check(map(list(object({}))), { "80/tcp": null })).toEqual({ "80/tcp": null });
    expect(check(set, { "80/tcp": null, "81/tcp": {} })).toEqual({ "80/tcp": {}, "81/tcp": {} });
  });
  test("a prototype can't be set", () => {
    const read = check(z.record(z.string(), text), JSON.parse('{"__proto__": "x", "a": "b"}'));
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    expect(read.a).toBe("b");
  });

  const wrong: [unknown, string][] = [
    [{ Name: 3 }, "invalid JSON: Name: expected string, received number"],
    [{ inner: { size: "x" } }, "invalid JSON: Inner.Size: expected number, received string"],
    [{ Inner: { Size: 1.5 } }, "invalid JSON: Inner.Size: expected an integer"],
    [{ Cmd: ["a", 1] }, "invalid JSON: Cmd[1]: expected string, received number"],
    [[], "invalid JSON: request body: expected object, received array"],
    ["x", "invalid JSON: request body: expected object, received string"],
  ];
  for (const [value, message] of wrong) test(message, () => expect(() => check(schema, value)).toThrow(message));
  test("booleans aren't numbers", () => expect(() => check(object({ Tty: bool }), { Tty: 1 })).toThrow("Tty: expected boolean"));
});

describe("create, as clients of each version mean it", () => {
  const options = (body: unknown, api: number) => toCreateOptions(check(createRequest, body), api);

  test("no network mode is the default bridge, under its name", () => {
    const { host, networking } = options({ Image: "x", NetworkingConfig: { EndpointsConfig: { default: { Aliases: ["a"] } } } }, 50).options;
    expect(host.NetworkMode).toBe("bridge");
    expect(networking.EndpointsConfig).toEqual({ bridge: { Aliases: ["a"] } });
  });

  test("what an older API doesn't know is dropped", () => {
    const body = {
      Image: "x",
      HostConfig: { AutoRemove: true, ConsoleSize: [1, 2], Annotations: { a: "b" }, PidsLimit: -1 },
      Healthcheck: { StartInterval: 5, Retries: 1 },
    };
    const old = options(body, 24).options;
    expect(old.host).toEqual({ AutoRemove: false, NetworkMode: "bridge", IpcMode: "shareable", PidsLimit: null });
    expect(old.config.Healthcheck).toEqual({ Retries: 1, StartInterval: undefined });
    const young = options(body, 55).options;
    expect(young.host).toEqual({ AutoRemove: true, ConsoleSize: [1, 2], Annotations: { a: "b" }, NetworkMode: "bridge", PidsLimit: null });
  });

  test("several endpoints need 1.44", () => {
    const body = { Image: "x", HostConfig: { NetworkMode: "a" }, NetworkingConfig: { EndpointsConfig: { a: null, b: {} } } };
    expect(() => options(body, 43)).toThrow("Container cannot be created with multiple network endpoints: a, b");
    expect(options(body, 44).options.networking.EndpointsConfig).toEqual({ a: {}, b: {} });
  });

  test("the container-wide MAC address moves to its network", () => {
    const old = options({ Image: "x", MacAddress: "02:42:ac:11:00:02" }, 43);
    expect(old.options.networking.EndpointsConfig).toEqual({ bridge: { MacAddress: "02:42:ac:11:00:02" } });
    expect(old.warnings).toEqual([]);
    const young = options({ Image: "x", MacAddress: "02:42:ac:11:00:02" }, 44);
    expect(young.options.config.MacAddress).toBeUndefined();
    expect(young.warnings).toHaveLength(1);
    expect(() => options({ Image: "x", MacAddress: "02:42:ac:11:00:02", HostConfig: { NetworkMode: "host" } }, 43)).toThrow("conflicting options");
  });

  test("mount options of another type are refused since 1.42 and ignored before", () => {
    const body = { Image: "x", HostConfig: { Mounts: [{ Type: "bind", Source: "/a", Target: "/b", TmpfsOptions: { SizeBytes: 1 } }] } };
    expect(() => options(body, 42)).toThrow('TmpfsOptions must not be specified on mount type "bind"');
    expect(options(body, 41).options.host.Mounts).toEqual([{ Type: "bind", Source: "/a", Target: "/b" }]);
  });

  test("the body isn't changed", () => {
    const body = check(createRequest, { Image: "x", HostConfig: { Mounts: [{ Type: "bind", Target: "/b", BindOptions: { CreateMountpoint: true } }] } });
    const before = JSON.stringify(body);
    toCreateOptions(body, 24);
    expect(JSON.stringify(body)).toBe(before);
  });
});
