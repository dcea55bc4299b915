import type { ContainerPaths } from "./containers/convert.ts";
import type { Builder } from "../build/types.ts";
import type { Containers } from "../containers/types.ts";
import type { RegistryClient } from "../distribution/types.ts";
import type { Events } from "../events/types.ts";
import type { Images } from "../images/types.ts";
import type { Logger } from "../lib/log.ts";
import type { Networks } from "../networks/types.ts";
import type { System } from "../system/types.ts";
import type { Volumes } from "../volumes/types.ts";

/** All that the endpoints work with. */
export interface Services {
  containers: Containers;
  images: Images;
  networks: Networks;
  volumes: Volumes;
  registry: RegistryClient;
  builder: Builder;
  events: Events;
  system: System;
  /** All figures, in Prometheus' text format. */
  metrics: { scrape(): Promise<string> };
  /** Places that inspect shows. */
  paths: ContainerPaths;
  log: Logger;
}
