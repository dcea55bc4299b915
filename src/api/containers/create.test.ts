import { describe, expect, test } from "bun:test";
import type { HostConfig } from "../../oci/container.ts";
import { check } from "../schema.ts";
import { toCreateOptions } from "./create.ts";
import { createRequest } from "./schemas.ts";

const options = (body: Record<string, unknown>, api: number): ReturnType<typeof toCreateOptions> => toCreateOptions(check(createRequest, body), api);
const hostOf = (host: Record<string, unknown>, api: number): HostConfig => options({ HostConfig: host }, api).options.host;

describe("what clients of older versions mean", () => {
  test("the network's name", () => {
    for (const HostConfig of [undefined, { NetworkMode: "default" }]) {
      const { host, networking } = options({ HostConfig, NetworkingConfig: { EndpointsConfig: { default: { Aliases: ["a"] } } } }, 50).options;
      expect(host.NetworkMode).toBe("bridge");
      expect(networking.EndpointsConfig).toEqual({ bridge: { Aliases: ["a"] } });
    }
  });

  test("fields that came later don't count, or are told of", () => {
    expect(hostOf({ AutoRemove: true }, 24).AutoRemove).toBe(false);
    expect(hostOf({ IpcMode: "" }, 39).IpcMode).toBe("shareable");
    expect(hostOf({ IpcMode: "" }, 40).IpcMode).toBe("");
    expect(options({}, 40).options.clientBefore41).toBe(true);
    expect(options({}, 41).options.clientBefore41).toBeUndefined();
    expect(hostOf({ ConsoleSize: [1, 2] }, 41).ConsoleSize).toBeUndefined();
    expect(hostOf({ Annotations: { a: "b" } }, 42).Annotations).toBeUndefined();
    expect(options({}, 43).options.readOnlyNonRecursive).toBe(true);
    expect(options({}, 44).options.readOnlyNonRecursive).toBeUndefined();
    expect(() => hostOf({ Capabilities: ["NET_ADMIN"] }, 40)).toThrow("use CapAdd and CapDrop");
    expect(() => hostOf({ Mounts: [{ Type: "image", Target: "/m" }] }, 47)).toThrow('Mount type "Image" needs API v1.48 or newer');
    expect(() => hostOf({ Mounts: [{ Type: "volume", Target: "/m", VolumeOptions: { Subpath: "x" } }] }, 44)).toThrow("needs API v1.45 or newer");
    expect(() => hostOf({ Mounts: [{ Type: "bind", Target: "/m", BindOptions: { ReadOnlyForceRecursive: true } }] }, 43)).toThrow("needs API v1.44 or newer");
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

  test("the container's own MAC address", () => {
    const old = options({ MacAddress: "02:42:ac:11:00:09" }, 43);
    expect(old.options.networking.EndpointsConfig).toEqual({ bridge: { MacAddress: "02:42:ac:11:00:09" } });
    expect(old.warnings).toEqual([]);
    const young = options({ MacAddress: "02:42:ac:11:00:09" }, 44);
    expect(young.options.config.MacAddress).toBeUndefined();
    expect(young.warnings).toEqual([expect.stringContaining("The container-wide MacAddress field is now deprecated")]);
    expect(() => options({ MacAddress: "02:42:ac:11:00:09", HostConfig: { NetworkMode: "host" } }, 43)).toThrow("conflicting options");
    expect(() => options({ MacAddress: "02:42:ac:11:00:09" }, 52)).toThrow("container-wide MAC address no longer supported");
    const other = { MacAddress: "02:42:ac:11:00:09", HostConfig: { NetworkMode: "mine" }, NetworkingConfig: { EndpointsConfig: { "0123abc": {} } } };
    expect(() => options(other, 44)).toThrow("HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks");
    expect(options(other, 43).options.networking.EndpointsConfig).toEqual({ "0123abc": { MacAddress: "02:42:ac:11:00:09" } });
  });

  test("settings of an interface move to its endpoint until 1.47", () => {
    const host = { NetworkMode: "mine", Sysctls: { "net.ipv4.conf.eth0.forwarding": "1", "net.core.somaxconn": "9" } };
    const { options: made, warnings } = options({ HostConfig: host }, 47);
    expect(made.host.Sysctls).toEqual({ "net.core.somaxconn": "9" });
    expect(made.networking.EndpointsConfig).toEqual({ mine: { DriverOpts: { "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.forwarding=1" } } });
    expect(warnings[0]).toStartWith('Migrated sysctl "net.ipv4.conf.eth0.forwarding" to DriverOpts{');
    expect(() => hostOf(host, 48)).toThrow("must be supplied using driver option 'com.docker.network.endpoint.sysctls'");
    expect(() => hostOf({ ...host, Sysctls: { "net.ipv4.conf.eth1.forwarding": "1" } }, 47)).toThrow("unable to determine network endpoint for sysctl");
    expect(hostOf({ ...host, NetworkMode: "host" }, 55).Sysctls).toEqual(host.Sysctls);
  });

  test("a container-wide volume driver doesn't count for mounts", () => {
    const host = { VolumeDriver: "x", Mounts: [{ Type: "volume", Target: "/m" }] };
    expect(options({ HostConfig: host }, 47).warnings).toEqual([]);
    expect(options({ HostConfig: host }, 48).warnings[0]).toContain("the container-wide volume-driver configuration is ignored");
  });

  test("empty port bindings", () => {
    const host = { PortBindings: { "80/tcp": [] } };
    for (const api of [24, 51, 52, 55]) expect(hostOf(host, api).PortBindings).toEqual({ "80/tcp": [{}] });
    expect(options({ HostConfig: host }, 51).warnings).toEqual([]);
    expect(options({ HostConfig: host }, 55).warnings[0]).toContain("have an empty list of port-bindings: 80/tcp");
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
