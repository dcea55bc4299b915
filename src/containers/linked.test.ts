import { expect, test } from "bun:test";
import { linkVariables } from "./linked.ts";

test("variables of a link, as Docker 26.1 makes them", () => {
  const linked = { ExposedPorts: { "81/tcp": {}, "53/udp": {}, "80/tcp": {}, "443/tcp": {} }, Env: ["FOO=bar", "PATH=/bin", "HOME=/", "EMPTY"] };
  expect(linkVariables("web", "my-db", "172.17.0.2", linked)).toEqual([
    "MY_DB_PORT=tcp://172.17.0.2:80",
    "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
    "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_80_TCP_PORT=80",
    "MY_DB_PORT_80_TCP_PROTO=tcp",
    "MY_DB_PORT_81_TCP=tcp://172.17.0.2:81",
    "MY_DB_PORT_81_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_81_TCP_PORT=81",
    "MY_DB_PORT_81_TCP_PROTO=tcp",
    "MY_DB_PORT_443_TCP=tcp://172.17.0.2:443",
    "MY_DB_PORT_443_TCP_ADDR=172.17.0.2",
    "MY_DB_PORT_443_TCP_PORT=443",
    "MY_DB_PORT_443_TCP_PROTO=tcp",
    "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
    "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
    "MY_DB_PORT_53_UDP_PORT=53",
    "MY_DB_PORT_53_UDP_PROTO=udp",
    "MY_DB_PORT_80_TCP_START=tcp://172.17.0.2:80",
    "MY_DB_PORT_80_TCP_PORT_START=80",
    "MY_DB_PORT_80_TCP_END=tcp://172.17.0.2:81",
    "MY_DB_PORT_80_TCP_PORT_END=81",
    "MY_DB_NAME=/web/my-db",
    "MY_DB_ENV_FOO=bar",
  ]);
});
