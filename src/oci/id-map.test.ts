import { expect, test } from "bun:test";
import { idInContainer, idOnHost, rootOnHost, translation, type IdMap } from "./id-map.ts";

const plain = (host: number, size = 65536): IdMap => ({ uids: [{ container: 0, host, size }], gids: [{ container: 0, host: host + 1, size }] });
const pieces: IdMap = {
  uids: [
    { container: 0, host: 100000, size: 10 },
    { container: 10, host: 500000, size: 90 },
  ],
  gids: [{ container: 0, host: 100000, size: 100 }],
};

test("ids go to the host and back, range by range", () => {
  expect([0, 9, 10, 99, 100].map((id) => idOnHost(pieces.uids, id))).toEqual([100000, 100009, 500000, 500089, undefined]);
  expect([100000, 100009, 100010, 500000, 500089, 500090, 0].map((id) => idInContainer(pieces.uids, id))).toEqual([
    0,
    9,
    undefined,
    10,
    99,
    undefined,
    undefined,
  ]);
  expect(rootOnHost(plain(100000))).toEqual({ uid: 100000, gid: 100001 });
  expect(rootOnHost(undefined)).toEqual({ uid: 0, gid: 0 });
});

test("files stored with one map are shown to another", () => {
  expect(translation(undefined, undefined)).toBeUndefined();
  expect(translation(plain(100000), plain(100000))).toBeUndefined();
  expect(translation(undefined, plain(100000))).toEqual(plain(100000));
  expect(translation(plain(100000), undefined)?.uids).toEqual([{ container: 100000, host: 0, size: 65536 }]);
  expect(translation(pieces, plain(200000, 50))).toEqual({
    uids: [
      { container: 100000, host: 200000, size: 10 },
      { container: 500000, host: 200010, size: 40 },
    ],
    gids: [{ container: 100000, host: 200001, size: 50 }],
  });
});
