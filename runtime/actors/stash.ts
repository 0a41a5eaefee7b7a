/**
 * Messages an actor has set aside, and those of them that are being handled now.
 *
 * Everything in `held` is older than everything in `replay`: while a replay runs, only messages
 * taken from its front can be set aside again. So putting `held` before `replay` keeps arrival
 * order, for `unstashAll` and after a failure alike. Refuses messages over its capacity.
 */

export class Stash<Message> {
  private readonly capacity: number;
  private held: Message[] = [];
  private replay: Message[] = [];

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.held.length + this.replay.length;
  }

  /** Messages that are to be handled before the mailbox. */
  get replaySize(): number {
    return this.replay.length;
  }

  hold(message: Message): boolean {
    if (this.size >= this.capacity) return false;
    this.held.push(message);
    return true;
  }

  /** Everything that is set aside is to be handled next, oldest first. */
  release(): void {
    if (this.held.length === 0) return;
    this.replay = this.replay.length === 0 ? this.held : [...this.held, ...this.replay];
    this.held = [];
  }

  /** The next message to replay. Must not be called when `replaySize` is 0. */
  next(): Message {
    return this.replay.shift() as Message; // the caller has seen that replay is not empty
  }

  /** Empties it, oldest first. */
  takeAll(): Message[] {
    this.release();
    const all = this.replay;
    this.replay = [];
    return all;
  }
}
