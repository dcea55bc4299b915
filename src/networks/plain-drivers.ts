import { invalidArgument } from "../lib/errors.ts";
import type { NetworkDriver } from "./driver.ts";

/** `host` and `null` make no links: the one shares the host's namespace, the other has `lo` alone. There is one network of each. */
function plainDriver(name: "host" | "null"): NetworkDriver {
  return {
    name,
    addresses: false,
    ports: "none",
    mac: "none",
    validate(network) {
      if (network.ipam.config.length > 0) throw invalidArgument(`network ${network.name}: driver "${name}" has no addresses to manage`);
    },
    setUp() {},
    tearDown() {},
    attach() {},
    detach() {},
    restore() {},
  };
}

export const createHostDriver = (): NetworkDriver => plainDriver("host");
export const createNullDriver = (): NetworkDriver => plainDriver("null");
