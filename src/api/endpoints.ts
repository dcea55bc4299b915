import type { Endpoint } from "./endpoint.ts";
import { createContainer } from "./containers/create.ts";
import { inspectContainer } from "./containers/inspect.ts";
import {
  deleteContainer,
  killContainer,
  pauseContainer,
  renameContainer,
  restartContainer,
  startContainer,
  stopContainer,
  unpauseContainer,
  updateContainer,
} from "./containers/lifecycle.ts";
import { listContainers } from "./containers/list.ts";
import { waitContainer } from "./containers/wait.ts";
import { info, version } from "./system/info.ts";
import { options, ping, pingHead } from "./system/ping.ts";

/** Everything that is served. Of two patterns that fit a path the first one wins. */
export const endpoints: readonly Endpoint[] = [
  ping,
  pingHead,
  options,
  info,
  version,

  listContainers,
  createContainer,
  inspectContainer,
  startContainer,
  stopContainer,
  restartContainer,
  killContainer,
  pauseContainer,
  unpauseContainer,
  renameContainer,
  updateContainer,
  waitContainer,
  deleteContainer,
];
