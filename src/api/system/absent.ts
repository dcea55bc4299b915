import { notFound, notImplemented, unavailable } from "../../lib/errors.ts";
import { endpoint, json, type Endpoint, type Method } from "../endpoint.ts";

/** What this engine doesn't have (yet), answered as an engine without it does. */

/** Docker's words. */
export const noSwarm = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const methods: readonly Method[] = ["GET", "POST", "DELETE"];
const swarmPaths = ["/swarm", "/services", "/nodes", "/tasks", "/secrets", "/configs"];

const refuse = (method: Method, path: string, error: () => Error): Endpoint =>
  endpoint({
    method,
    path,
    handler: () => {
      throw error();
    },
  });

export const absent: readonly Endpoint[] = [
  endpoint({ method: "GET", path: "/plugins", handler: () => json([]) }),
  endpoint({
    method: "GET",
    path: "/plugins/{name*}/json",
    handler: ({ params }) => {
      throw notFound(`plugin "${params.name}" not found`);
    },
  }),
  ...methods.map((method) => refuse(method, "/plugins/{path*}", () => notImplemented("plugins are not supported by this engine"))),
  refuse("POST", "/swarm/init", () => notImplemented("swarm mode is not supported by this engine yet")),
  refuse("POST", "/swarm/join", () => notImplemented("swarm mode is not supported by this engine yet")),
  refuse("POST", "/swarm/leave", () => unavailable("This node is not part of a swarm")),
  ...swarmPaths.flatMap((path) =>
    methods.flatMap((method) => [refuse(method, path, () => unavailable(noSwarm)), refuse(method, `${path}/{rest*}`, () => unavailable(noSwarm))]),
  ),
  // how buildx and `docker build` with BuildKit speak to an engine
  ...["/session", "/grpc"].map((path) =>
    refuse("POST", path, () => notImplemented("this engine has no BuildKit yet: build with DOCKER_BUILDKIT=0 docker build, or with berth build")),
  ),
];
