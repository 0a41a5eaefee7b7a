/**
 * The checksum of a frame: CRC-32 (IEEE 802.3, as zlib's) over every byte but its own four.
 *
 * The twelve bytes before it are hashed here by table and the rest in one native call: two native
 * calls would cost more than the hashing. Detects every error of up to three bits in a frame of
 * the largest size (Koopman 2002), and every burst of up to 32; it is no defence against malice.
 */

const POLYNOMIAL = 0xedb88320;
export const CHECKSUM_AT = 12;
const CHECKSUM_BYTES = 4;

const table = new Int32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  table[byte] = value;
}

/** Unsigned 32-bit checksum of the frame of `frameBytes` bytes at `at`; the bytes are there. */
export function frameChecksum(bytes: Uint8Array, at: number, frameBytes: number): number {
  let crc = -1;
  for (let index = at; index < at + CHECKSUM_AT; index++) {
    // `!`: the bytes are there, and the table has an entry for each of the 256.
    crc = table[(crc ^ bytes[index]!) & 0xff]! ^ (crc >>> 8);
  }
  const rest = bytes.subarray(at + CHECKSUM_AT + CHECKSUM_BYTES, at + frameBytes);
  return Bun.hash.crc32(rest, ~crc >>> 0);
}
