import { expect, test } from "bun:test";
import { decodeMessage, encodeMessage, MAX_MESSAGE, messageLength } from "./dbus-wire.ts";

// bytes as GLib's Gio.DBusMessage makes them of the same messages
const bytes = (...parts: string[]): Buffer => Buffer.from(parts.join(""), "hex");

const everyType = {
  little: bytes(
    "6c04010188000000030000004a00000001016f00020000002f780000000000000201730003000000612e6200000000000801670016796e716975787464626f676128697329617b73767d76",
    "000000000003017300010000004300000000000000ff00feffffff0000fdffffff00286beefbffffffffffffff0600000000000000000000000000f83f01000000020000002f6f0005617b73767d0000",
    "001a000000010000000100000061000000000000000200000001000000620000001a000000010000006b000176000261730000000006000000010000007a000428757529000100000002000000",
  ),
  big: bytes(
    "4204010100000088000000030000004a01016f00000000022f780000000000000201730000000003612e6200000000000801670016796e716975787464626f676128697329617b73767d76",
    "000000000003017300000000014300000000000000ff00fffeffff0000fffffffdee6b2800fffffffffffffffb00000000000000063ff800000000000000000001000000022f6f0005617b73767d0000",
    "000000001a000000010000000161000000000000000000000200000001620000000000001a000000016b000176000261730000000000000006000000017a000428757529000000000100000002",
  ),
};
const signal = bytes(
  "6c04010135000000020000008900000007017300140000006f72672e667265656465736b746f702e444275730000000001016f00150000002f6f72672f667265656465736b746f702f44427573",
  "00000002017300140000006f72672e667265656465736b746f702e44427573000000000801670003737373000000000000000003017300100000004e616d654f776e65724368616e67656400000000",
  "000000001c0000006f72672e6665646f726170726f6a6563742e4669726577616c6c4431000000000000000000000000040000003a312e3700",
);
const call = bytes(
  "6c01000156000000070000007200000001016f000c0000002f6f72672f6578616d706c650000000002017300120000006f72672e6578616d706c652e636f6e666967000000000000060173000b0000",
  "006f72672e6578616d706c650000000000080167000673617b73767d00000000000301730009000000616464506f6c69637900000000000000050000006ec3a46d6500000046000000060000007461",
  "7267657400017300000006000000414343455054000000000000050000007a6f6e6573000261730000001200000003000000414e590005000000626572746800",
);

test("messages of others, in both byte orders, with every type of value", () => {
  const body = [255, -2, 65535, -3, 4000000000, -5n, 6n, 1.5, true, "/o", "a{sv}", [[1, "a"], [2, "b"]], [["k", ["z"]]], [1, 2]]; // prettier-ignore
  for (const message of Object.values(everyType)) {
    expect(messageLength(message)).toBe(message.length);
    expect(decodeMessage(message)).toEqual({ type: 4, serial: 3, path: "/x", interface: "a.b", member: "C", body });
  }
  expect(decodeMessage(signal)).toEqual({
    ...{ type: 4, serial: 2, sender: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" },
    ...{ member: "NameOwnerChanged", body: ["org.fedoraproject.FirewallD1", "", ":1.7"] },
  });
});

test("our own are written as others write them", () => {
  const settings = [
    ["target", { signature: "s", value: "ACCEPT" }],
    ["zones", { signature: "as", value: ["ANY", "berth"] }],
  ];
  const ours = encodeMessage({
    ...{ type: 1, serial: 7, destination: "org.example", path: "/org/example", interface: "org.example.config", member: "addPolicy" },
    ...{ signature: "sa{sv}", body: ["näme", settings] },
  });
  expect(decodeMessage(ours)).toEqual(decodeMessage(call));
  expect(ours.subarray(-0x56).toString("hex")).toBe(call.subarray(-0x56).toString("hex"));
  const { body } = decodeMessage(encodeMessage({ type: 2, serial: 1, replySerial: 9, signature: "asub", body: [[], 5, false] }));
  expect(body).toEqual([[], 5, false]);
});

/** What came of it, in one word. */
function fate(message: Buffer): string {
  try {
    const length = messageLength(message);
    if (length === undefined || length > message.length) return "more";
    decodeMessage(message.subarray(0, length));
    return "message";
  } catch (error) {
    if (error instanceof Error && /D-Bus|ERR_OUT_OF_RANGE/.test(error.message)) return "refused";
    throw error;
  }
}

test("whatever is cut off or changed is a message, not yet one, or refused", () => {
  for (const whole of [everyType.little, everyType.big, signal, call]) {
    for (let length = 0; length < whole.length; length++) expect(fate(whole.subarray(0, length))).toBe("more");
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0, 1, 0x28, 0x76, 0xff]) {
        const changed = Buffer.from(whole);
        changed[at] = value;
        expect(["message", "more", "refused"]).toContain(fate(changed));
      }
    }
  }
});

test("bodies that promise more than they hold, or nothing without end, are refused", () => {
  const withBody = (signature: string, body: Buffer): Buffer => {
    const field = Buffer.from(`\x08\x01g\0${String.fromCharCode(signature.length)}${signature}\0`, "latin1");
    const lengths = Buffer.from(new Uint32Array([body.length, 1, field.length]).buffer);
    return Buffer.concat([Buffer.from("6c040001", "hex"), lengths, field, Buffer.alloc(-field.length & 7), body]);
  };
  const long = Buffer.alloc(8);
  long.writeUInt32LE(0xfffffff0);
  const nothing = Buffer.alloc(8);
  nothing.writeUInt32LE(4);
  for (const signature of ["s", "as"]) expect([signature, fate(withBody(signature, long))]).toEqual([signature, "refused"]);
  const endless = ["a()", "a{}", "(", "a", "!", `${"a".repeat(40)}s`];
  for (const signature of endless) expect([signature, fate(withBody(signature, nothing))]).toEqual([signature, "refused"]);
  // variants in each other: their signatures stand in the body, so that none limits them
  expect(fate(withBody("v", Buffer.concat([Buffer.from("\x01v\0".repeat(1000), "latin1"), nothing])))).toBe("refused");
  const large = Buffer.from(signal);
  large.writeUInt32LE(MAX_MESSAGE, 4);
  expect(() => messageLength(large)).toThrow("too large");
  expect(() => messageLength(Buffer.alloc(16))).toThrow("not a D-Bus message");
});
