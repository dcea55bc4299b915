import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { readCdi } from "./cdi.ts";
import { checkDeviceRequests, resolveDeviceRequests } from "./device-requests.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(`${tmpdir()}/berth-cdi-`);
  for (const folder of ["etc", "run"]) mkdirSync(`${root}/${folder}`);
  writeFileSync(
    `${root}/etc/vendor.yaml`,
    `
cdiVersion: "0.6.0"
kind: vendor.com/net
containerEdits:
  env: [ALL=1]
devices:
  - name: "0"
    containerEdits:
      env: ["ONE=1"]
      deviceNodes:
        - path: /dev/mynull
          hostPath: /dev/null
          permissions: rw
        - {path: /dev/given, type: c, major: 1, minor: 5, fileMode: 384, uid: 7}
      mounts:
        - {hostPath: /etc, containerPath: /vendor/etc, options: [ro, nosuid, bind]}
        - {hostPath: tmpfs, containerPath: /vendor/tmp, type: tmpfs, options: [size=1m]}
      hooks:
        - {hookName: createContainer, path: /bin/true, args: ["true", x], timeout: 3}
      additionalGids: [0, 44]
  - name: all
    containerEdits: {env: ["EVERY=1"]}
`,
  );
  writeFileSync(
    `${root}/run/vendor.json`,
    JSON.stringify({ cdiVersion: "0.5.0", kind: "vendor.com/net", devices: [{ name: "all", containerEdits: { env: ["LATER=1"] } }] }),
  );
  writeFileSync(`${root}/run/bad.json`, "{");
  writeFileSync(`${root}/run/worse.yaml`, "cdiVersion: 0.6.0\nkind: nothing\ndevices: []\n");
  writeFileSync(`${root}/run/ignored.txt`, "{");
  const gpu = {
    cdiVersion: "0.6.0",
    kind: "nvidia.com/gpu",
    devices: [
      { name: "0", containerEdits: { env: ["GPU=0"] } },
      { name: "all", containerEdits: { env: ["GPU=all"] } },
    ],
  };
  mkdirSync(`${root}/gpu`);
  writeFileSync(`${root}/gpu/nvidia.json`, JSON.stringify(gpu));
  mkdirSync(`${root}/twice`);
  for (const name of ["a", "b"]) writeFileSync(`${root}/twice/${name}.json`, JSON.stringify(gpu));
});
afterAll(() => rmSync(root, { recursive: true }));

const directories = (): string[] => [`${root}/etc`, `${root}/run`, `${root}/absent`];

describe("devices by CDI", () => {
  test("are read from JSON and YAML; a later directory wins; bad files are told of", async () => {
    const { devices, errors } = await readCdi(directories());
    expect([...devices.keys()]).toEqual(["vendor.com/net=0", "vendor.com/net=all"]);
    expect(devices.get("vendor.com/net=all")?.edits.env).toEqual(["LATER=1"]);
    expect(errors).toHaveLength(2);
    expect(errors[0]).toStartWith(`CDI: Error associated with spec file ${root}/run/bad.json: `);
    expect(errors[1]).toContain("worse.yaml: kind: wants vendor/class");
  });

  test("two of one name in a directory leave none", async () => {
    const { devices, errors } = await readCdi([`${root}/twice`]);
    expect([...devices.keys()]).toEqual([]);
    expect(errors.join()).toContain('conflicting device "nvidia.com/gpu=0"');
  });

  test("give their edits, with those of their file once", async () => {
    const edits = await resolveDeviceRequests([{ Driver: "cdi", DeviceIDs: ["vendor.com/net=0", "vendor.com/net=0"] }], directories());
    expect(edits).toEqual({
      env: ["ALL=1", "ONE=1"],
      devices: [
        { path: "/dev/mynull", type: "c", major: 1, minor: 3, fileMode: 0o666 },
        { path: "/dev/given", type: "c", major: 1, minor: 5, fileMode: 0o600, uid: 7 },
      ],
      rules: [
        { allow: true, type: "c", major: 1, minor: 3, access: "rw" },
        { allow: true, type: "c", major: 1, minor: 5, access: "rwm" },
      ],
      mounts: [
        { destination: "/vendor/etc", type: "bind", source: "/etc", options: ["ro", "nosuid", "bind"] },
        { destination: "/vendor/tmp", type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
      ],
      hooks: { createContainer: [{ path: "/bin/true", args: ["true", "x"], timeout: 3 }] },
      groups: [44],
    });
    expect(await resolveDeviceRequests([], directories())).toBeUndefined();
  });

  test("that aren't there are refused by name", async () => {
    const cdi = resolveDeviceRequests([{ Driver: "cdi", DeviceIDs: ["vendor.com/net=9"] }], directories());
    expect(cdi).rejects.toThrow("CDI device injection failed: unresolvable CDI devices vendor.com/net=9");
    const gpu = resolveDeviceRequests([{ Count: -1, Capabilities: [["gpu"]] }], directories());
    expect(gpu).rejects.toThrow('could not select device driver "" with capabilities: [[gpu]]');
    expect(() => checkDeviceRequests([{ Driver: "cdi", DeviceIDs: ["no"] }])).toThrow('invalid CDI device name "no"');
    expect(() => checkDeviceRequests([{ Driver: "cdi", Count: 1 }])).toThrow("unexpected count in CDI device request");
    expect(() => checkDeviceRequests([{ Count: 1, DeviceIDs: ["0"] }])).toThrow("cannot set both Count and DeviceIDs on device request");
  });

  test("--gpus finds a vendor's devices", async () => {
    const gpus = [`${root}/gpu`];
    const all = await resolveDeviceRequests([{ Count: -1, Capabilities: [["gpu"]] }], gpus);
    expect(all?.env).toEqual(["GPU=all"]);
    const one = await resolveDeviceRequests([{ Count: 1, Capabilities: [["gpu", "utility"]] }], gpus);
    expect(one?.env).toEqual(["GPU=0"]);
    const named = await resolveDeviceRequests([{ Driver: "nvidia", DeviceIDs: ["nvidia.com/gpu=0"], Capabilities: [["gpu"]] }], gpus);
    expect(named?.env).toEqual(["GPU=0"]);
    expect(resolveDeviceRequests([{ Driver: "amd", Count: 1 }], gpus)).rejects.toThrow('could not select device driver "amd"');
  });
});
