/**
 * Checksums of what is stored: CRC-32 over the identity of a record and its bytes.
 *
 * The identity is part of it so that a record that turns up in another's place is noticed. It
 * finds flipped bits and torn writes; it refuses nothing that was written on purpose.
 */

/** Of a log record. Identity: part (topic and partition) and sequence. */
export function logChecksum(part: number, sequence: number, bytes: Uint8Array): number {
  const high = Math.floor(sequence / 0x1_0000_0000);
  const seed = Math.imul(part + 1, 0x9e37_79b1) ^ Math.imul(sequence | 0, 0x85eb_ca6b) ^ high;
  return Bun.hash.crc32(bytes, seed >>> 0);
}

/** Of anything else. `identity` is every other column as one text. */
export function recordChecksum(identity: string, data: Uint8Array): number {
  return Bun.hash.crc32(data, Bun.hash.crc32(identity));
}
