import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { NamespaceHandle, NetworkDriver } from "../../src/networks/driver.ts";
import { outcome } from "../outcome.ts";
import type { Endpoint, NetworkRecord } from "../../src/networks/types.ts";

/** A namespace of the test; `again` is one more handle on it, `remove` lets it go. */
export type LabNamespace = NamespaceHandle & Disposable & { again(): NamespaceHandle & Disposable; remove(): void };

/** What a driver's test gives the suite. */
export interface DriverLab {
  driver: NetworkDriver;
  /** A network that the driver takes, with addresses if it has any; a new one each time. */
  network(): NetworkRecord;
  /** An endpoint on it, with the next address. */
  endpoint(network: NetworkRecord): Endpoint;
  /** A new namespace, `lo` up. */
  namespace(): Promise<LabNamespace>;
  /** Names of the host's links. */
  hostLinks(): string[];
  /** Names of the links inside. */
  linksIn(namespace: NamespaceHandle): string[];
  /** Whether the one endpoint's address answers the other's namespace. */
  reaches(from: NamespaceHandle, to: Endpoint): Promise<boolean>;
  close(): Promise<void>;
}

/** What every network driver keeps to. Runs as root in a namespace of its own. */
export function networkDriverContract(name: string, open: () => Promise<DriverLab>): void {
  describe(`network driver ${name}`, () => {
    let lab: DriverLab;
    let before: string[];
    const opened: LabNamespace[] = [];
    const namespace = async (): Promise<LabNamespace> => {
      const handle = await lab.namespace();
      opened.push(handle);
      return handle;
    };

    beforeEach(async () => {
      lab = await open();
      before = lab.hostLinks();
    });
    afterEach(async () => {
      for (const handle of opened.splice(0)) handle.remove();
      await lab.close();
    });

    test("validate makes nothing; setUp may be repeated; tearDown leaves nothing and may be repeated", async () => {
      const network = lab.network();
      await lab.driver.validate(network);
      expect(lab.hostLinks()).toEqual(before);
      await lab.driver.setUp(network);
      await lab.driver.setUp(network);
      await lab.driver.tearDown(network, { forGood: true });
      expect(lab.hostLinks()).toEqual(before);
      await lab.driver.tearDown(network, { forGood: true });
    });

    test("what was withdrawn can be set up again, and leaves nothing when it is taken down", async () => {
      const network = lab.network();
      await lab.driver.setUp(network);
      for (let i = 0; i < 2; i++) await lab.driver.withdraw?.(network);
      await lab.driver.setUp(network);
      await lab.driver.withdraw?.(network);
      await lab.driver.tearDown(network, { forGood: true });
      expect(lab.hostLinks()).toEqual(before);
      await lab.driver.withdraw?.(network);
    });

    test("attached endpoints have their interface and reach each other until one is detached", async () => {
      const network = lab.network();
      await lab.driver.setUp(network);
      const [one, two] = [lab.endpoint(network), lab.endpoint(network)];
      const [inOne, inTwo] = [await namespace(), await namespace()];
      await lab.driver.attach(network, one, inOne, { defaultRoute: true });
      await lab.driver.attach(network, two, inTwo, { defaultRoute: false });
      expect(lab.linksIn(inOne)).toEqual(lab.driver.addresses ? ["lo", one.containerInterface] : ["lo"]);
      if (lab.driver.addresses) {
        expect(await lab.reaches(inOne, two)).toBe(true);
        await lab.driver.detach(network, two, { lives: true, namespace: () => inTwo.again() });
        expect(await lab.reaches(inOne, two)).toBe(false);
      }
      for (const lives of [true, false]) await lab.driver.detach(network, one, { lives, namespace: () => inOne.again() });
    });

    test("a failed attach undoes its own steps", async () => {
      if (!lab.driver.addresses) return;
      const network = lab.network();
      await lab.driver.setUp(network);
      const made = lab.hostLinks();
      const endpoint = lab.endpoint(network);
      const inside = await namespace();
      const failing = Promise.try(() => lab.driver.attach(network, { ...endpoint, containerInterface: "lo" }, inside, { defaultRoute: true }));
      expect(await outcome(failing)).toThrow();
      expect(lab.hostLinks()).toEqual(made);
      await lab.driver.attach(network, endpoint, inside, { defaultRoute: true });
    });

    test("restore keeps the links it is told of, and they go on working", async () => {
      const network = lab.network();
      await lab.driver.setUp(network);
      const [one, two, dead] = [lab.endpoint(network), lab.endpoint(network), lab.endpoint(network)];
      const [inOne, inTwo, inDead] = [await namespace(), await namespace(), await namespace()];
      await lab.driver.attach(network, one, inOne, { defaultRoute: true });
      await lab.driver.attach(network, two, inTwo, { defaultRoute: true });
      await lab.driver.attach(network, dead, inDead, { defaultRoute: true });
      // a link without an end on the host goes with its namespace, in the kernel's own time: the service removes that before
      if (lab.driver.hostInterface === undefined) inDead.remove();
      await lab.driver.restore(network, [one, two]);
      if (!lab.driver.addresses) return;
      expect(await lab.reaches(inOne, two)).toBe(true);
      for (let i = 0; lab.driver.hostInterface === undefined && i < 50 && (await lab.reaches(inOne, dead)); i++) await Bun.sleep(20);
      expect(await lab.reaches(inOne, dead)).toBe(false);
      for (let i = 0; lab.hostLinks().includes(dead.hostInterface) && i < 100; i++) await Bun.sleep(20);
      expect(lab.hostLinks()).not.toContain(dead.hostInterface);
    });
  });
}
