// SPDX-License-Identifier: Apache-2.0
/** Time for what machines do. While a person is asked it stands still: how long that may take is for the server to say. */
export class Patience {
  private readonly over: () => void;
  private leftMs = 0;
  private sinceMs = 0;
  private isEnded = false;
  private timer: NodeJS.Timeout | undefined;

  constructor(ms: number, over: () => void) {
    this.over = over;
    this.renew(ms);
  }

  /** So much from now on, for what comes next. */
  renew(ms: number): void {
    clearTimeout(this.timer);
    this.leftMs = ms;
    this.goOn();
  }

  async while<T>(question: () => Promise<T>): Promise<T> {
    clearTimeout(this.timer);
    this.leftMs = Math.max(0, this.leftMs - (performance.now() - this.sinceMs));
    try {
      return await question();
    } finally {
      this.goOn();
    }
  }

  end(): void {
    this.isEnded = true;
    clearTimeout(this.timer);
  }

  private goOn(): void {
    if (this.isEnded) return;
    this.sinceMs = performance.now();
    this.timer = setTimeout(this.over, this.leftMs);
  }
}
