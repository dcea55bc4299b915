import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { VolumeDriver } from "../../src/volumes/driver.ts";
import type { VolumeRecord } from "../../src/volumes/types.ts";

/** What a driver's test gives the suite. */
export interface VolumeLab {
  driver: VolumeDriver;
  /** A record as the service makes it, before `create`. */
  record(name: string): VolumeRecord;
  /** A driver as the next engine makes it. */
  restart(): Promise<VolumeDriver>;
  close(): Promise<void>;
}

/** What every volume driver keeps to. */
export function volumeDriverContract(name: string, open: () => Promise<VolumeLab>): void {
  describe(`volume driver ${name}`, () => {
    let lab: VolumeLab;
    beforeEach(async () => {
      lab = await open();
    });
    afterEach(() => lab.close());

    const made = async (volume: string): Promise<VolumeRecord> => {
      const record = lab.record(volume);
      lab.driver.validate(volume, record.options);
      record.mountpoint = await lab.driver.create(record);
      return record;
    };

    test("create may be repeated, and keeps what is in it", async () => {
      const record = await made("twice");
      const path = await lab.driver.mount(record, "c1");
      writeFileSync(join(path, "file"), "kept");
      await lab.driver.unmount(record, "c1");
      await lab.driver.create(record);
      expect(readFileSync(join(await lab.driver.mount(record, "c1"), "file"), "utf8")).toBe("kept");
      await lab.driver.unmount(record, "c1");
    });

    test("two users share it; it is there until the last has gone", async () => {
      const record = await made("shared");
      const [one, two] = [await lab.driver.mount(record, "c1"), await lab.driver.mount(record, "c2")];
      writeFileSync(join(one, "file"), "seen");
      expect(readFileSync(join(two, "file"), "utf8")).toBe("seen");
      await lab.driver.unmount(record, "c1");
      expect(readFileSync(join(two, "file"), "utf8")).toBe("seen");
      await lab.driver.unmount(record, "c2");
      await lab.driver.unmount(record, "c2");
    });

    test("the next engine goes on with it", async () => {
      const record = await made("restarted");
      const path = await lab.driver.mount(record, "c1");
      writeFileSync(join(path, "file"), "kept");
      const next = await lab.restart();
      next.adopt(record, "c1");
      expect(readFileSync(join(await next.mount(record, "c2"), "file"), "utf8")).toBe("kept");
      await next.unmount(record, "c2");
      await next.unmount(record, "c1");
      await next.remove(record);
    });

    test("remove leaves nothing and may be repeated", async () => {
      const record = await made("gone");
      const path = await lab.driver.mount(record, "c1");
      await lab.driver.unmount(record, "c1");
      await lab.driver.remove(record);
      expect(existsSync(path)).toBe(false);
      await lab.driver.remove(record);
    });

    test("names that could lead elsewhere are refused", () => {
      for (const bad of ["..", ".", "a/b", "../x", "x\0y", "y".repeat(256)]) expect(() => lab.driver.validate(bad, {})).toThrow();
    });
  });
}
