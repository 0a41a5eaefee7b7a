/**
 * Acknowledgements of RabbitMQ in multiples: one word to the server for all up to a message.
 *
 * Deliveries are taken in the order of their channel, which has one consumer, so the last that was
 * taken stands for all before it. It refuses to hold any back once it is told to end.
 */

/** What it needs of a channel of `amqplib`. */
export interface AckChannel<Message> {
  ack(message: Message, isAllUpTo: true): void;
}

export interface MultipleAcks<Message> {
  /** The next message of the channel, in its order. */
  taken(message: Message): void;
  /** Tells of what was taken and not told. */
  end(): void;
}

/** Tells of every `every`-th message, and so of those before it. */
export function multipleAcks<Message>(
  channel: AckChannel<Message>,
  every: number,
): MultipleAcks<Message> {
  let untold = 0;
  let last: Message | undefined;
  const end = (): void => {
    if (last !== undefined) channel.ack(last, true);
    last = undefined;
    untold = 0;
  };
  return {
    taken: (message) => {
      last = message;
      if (++untold >= every) end();
    },
    end,
  };
}
