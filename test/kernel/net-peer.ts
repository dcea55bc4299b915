/**
 * A small program for network tests, run inside some namespace:
 *   serve NAME TCP_PORT UDP_PORT [ADDRESS]   answers every connection and datagram with `NAME <peer's address>`; prints `ready`
 *   tcp HOST PORT | udp HOST PORT [OWN_PORT] prints what the server says, or `error CODE`; nothing for 1 s is `error timeout`
 *   stream HOST PORT                         sends what it reads from standard input and prints what comes back; prints `closed` when that ends
 *   nameserver ADDRESS                       a DNS server on port 53: `big.test` truncates by UDP, `*.test` is 203.0.113.7, others NXDOMAIN
 *   dns udp|tcp SERVER NAME TYPE             prints the response code and the data of the answers in hex
 *   flood SERVER NAME                        asks for NAME without end, and never looks at an answer
 */
import { createServer } from "node:net";
import { nextTurn } from "../../src/lib/turns.ts";

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
  setTimeout(() => finish("error timeout"), 1000);
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

async function stream(hostname: string, port: number): Promise<void> {
  const socket = await Bun.connect({
    hostname,
    port,
    socket: { data: (_socket, data) => void process.stdout.write(data), close: () => finish("closed"), error: () => {} },
  });
  for await (const line of process.stdin) socket.write(line as Uint8Array);
}

function question(name: string, type: number): Buffer {
  const labels = name.split(".").flatMap((label) => [Buffer.of(label.length), Buffer.from(label)]);
  return Buffer.concat([Buffer.from("123401000001000000000000", "hex"), ...labels, Buffer.of(0, 0, type, 0, 1)]);
}

const framed = (message: Buffer): Buffer => Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]);

/** What the test's name server says to a query without further sections. */
function zone(query: Buffer, protocol: string): Buffer {
  const name = query.toString("latin1", 12, query.indexOf(0, 12));
  const reply = Buffer.from(query.subarray(0, query.indexOf(0, 12) + 5));
  reply.writeUInt16BE(0x8180, 2);
  reply.writeUInt16BE(0, 10);
  if (!name.endsWith("test")) reply.writeUInt16BE(0x8183, 2);
  else if (name.includes("big") && protocol === "udp") reply.writeUInt16BE(0x8380, 2);
  else {
    reply.writeUInt16BE(1, 6);
    return Buffer.concat([reply, Buffer.from("c00c000100010000003c0004cb007107", "hex")]);
  }
  return reply;
}

async function nameserver(hostname: string): Promise<void> {
  await Bun.udpSocket({
    hostname,
    port: 53,
    socket: { data: (socket, data, port, address) => void socket.send(zone(Buffer.from(data as Uint8Array), "udp"), port, address) },
  });
  createServer((socket) => socket.on("data", (data: Buffer) => socket.write(framed(zone(data.subarray(2), "tcp"))))).listen(53, hostname, () =>
    console.log("ready"),
  );
}

function describeReply(reply: Buffer): string {
  const answers: string[] = [];
  let at = reply.indexOf(0, 12) + 5;
  for (let i = 0; i < reply.readUInt16BE(6); i++) {
    const length = reply.readUInt16BE(at + 10);
    answers.push(reply.toString("hex", at + 12, at + 12 + length));
    at += 12 + length;
  }
  if (reply.readUInt16BE(0) !== 0x1234) return "wrong id";
  return [`code ${reply[3]! & 15}${(reply[2]! & 2) === 0 ? "" : " truncated"}`, ...answers.sort()].join(" ");
}

async function lookUp(protocol: string, hostname: string, name: string, type: number): Promise<void> {
  setTimeout(() => finish("error timeout"), 8000);
  if (protocol === "udp") {
    const socket = await Bun.udpSocket({
      connect: { hostname, port: 53 },
      socket: { data: (_socket, data) => finish(describeReply(Buffer.from(data as Uint8Array))) },
    });
    socket.send(question(name, type));
    return;
  }
  const socket = await Bun.connect({
    hostname,
    port: 53,
    socket: { data: (_socket, data) => finish(describeReply(data.subarray(2))), close: () => finish("closed") },
  });
  socket.write(framed(question(name, type)));
}

async function flood(hostname: string, name: string): Promise<void> {
  const socket = await Bun.udpSocket({ connect: { hostname, port: 53 }, socket: { data() {} } });
  const message = question(name, 1);
  for (;;) {
    for (let i = 0; i < 100; i++) {
      message.writeUInt16BE(i, 0);
      socket.send(message);
    }
    await nextTurn();
  }
}

if (mode === "flood") await flood(args[0]!, args[1]!);
else if (mode === "nameserver") await nameserver(args[0]!);
else if (mode === "stream") await stream(args[0]!, Number(args[1]));
else if (mode === "dns") await lookUp(args[0]!, args[1]!, args[2]!, Number(args[3]));
else if (mode === "serve") await serve(args[0]!, Number(args[1]), Number(args[2]), args[3]);
else await ask(mode!, args[0]!, Number(args[1]), Number(args[2] ?? 0));
