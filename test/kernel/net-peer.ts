/**
 * A small program for network tests, run inside some namespace:
 *   serve NAME TCP_PORT UDP_PORT [ADDRESS]   answers every connection and datagram with `NAME <peer's address>`; prints `ready`
 *   tcp HOST PORT | udp HOST PORT [OWN_PORT] prints what the server says, or `error CODE`; nothing for 2 s is `error timeout`
 */
const [mode, ...args] = process.argv.slice(2);

async function serve(name: string, tcpPort: number, udpPort: number, hostname = "0.0.0.0"): Promise<void> {
  Bun.listen({
    hostname,
    port: tcpPort,
    socket: {
      open(socket) {
        socket.end(`${name} ${socket.remoteAddress}`);
      },
      data() {},
    },
  });
  await Bun.udpSocket({
    hostname,
    port: udpPort,
    socket: {
      data(socket, _data, port, address) {
        socket.send(`${name} ${address}`, port, address);
      },
    },
  });
  console.log("ready");
}

function finish(text: string): never {
  console.log(text);
  process.exit(0);
}

async function ask(protocol: string, hostname: string, port: number, ownPort = 0): Promise<void> {
  setTimeout(() => finish("error timeout"), 2000);
  if (protocol === "udp") {
    const socket = await Bun.udpSocket({
      hostname: hostname.includes(":") ? "::" : "0.0.0.0",
      port: ownPort,
      connect: { hostname, port },
      socket: {
        data: (_socket, data) => finish(Buffer.from(data as Uint8Array).toString()),
        error: (error) => finish(`error ${(error as { code?: string }).code}`),
      },
    });
    socket.send("?");
    return;
  }
  let answer = "";
  await Bun.connect({
    hostname,
    port,
    socket: {
      data: (_socket, data) => void (answer += data.toString()),
      close: () => finish(answer),
      connectError: (_socket, error) => finish(`error ${(error as { code?: string }).code}`),
    },
  }).catch((error: { code?: string }) => finish(`error ${error.code}`));
}

if (mode === "serve") await serve(args[0]!, Number(args[1]), Number(args[2]), args[3]);
else await ask(mode!, args[0]!, Number(args[1]), Number(args[2] ?? 0));
export {};
