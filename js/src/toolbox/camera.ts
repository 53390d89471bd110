// Pictures from the camera, mirrored, one after the other as the kernel can take them.
const WINDOW = 2; // pictures without an answer
const LOST = 1000; // ms after which an answer no longer counts as due
const QUALITY = 0.92;

export interface CameraEvents {
  picture(bytes: ArrayBuffer): number;
  /** It has started, or stopped: by a button, or with a reason. */
  changed(running: boolean, reason: string): void;
}

export class Camera {
  /** Height and width of the network's pictures. */
  size: [height: number, width: number] = [224, 224];
  /** While frozen or hidden, no pictures are sent. */
  held = false;
  #on: CameraEvents;
  #stream: MediaStream | null = null;
  #video: HTMLVideoElement | null = null;
  #canvas = document.createElement("canvas");
  #sent = 0;
  #answered = 0;
  #sentAt = 0;
  #busy = false;
  #run = 0; // counts starts: what belongs to an earlier one ends

  constructor(on: CameraEvents) {
    this.#on = on;
  }

  get running(): boolean {
    return this.#stream !== null;
  }

  async start(): Promise<void> {
    const run = ++this.#run;
    if (!navigator.mediaDevices?.getUserMedia) {
      const why = window.isSecureContext === false ? "pages that are neither on localhost nor https get no camera" : "this front end has no camera";
      return this.#on.changed(false, `${why}: open, drop or paste pictures instead`);
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" }, audio: false });
      if (run !== this.#run) return stream.getTracks().forEach((track) => track.stop());
      this.#stream = stream;
      stream.getVideoTracks()[0]?.addEventListener("ended", () => this.stop("the camera has been taken away"));
      const video = document.createElement("video");
      [video.muted, video.playsInline, video.srcObject] = [true, true, stream];
      this.#video = video;
      await video.play();
      if (run !== this.#run) return;
      this.#answered = this.#sent;
      this.#on.changed(true, "");
      this.#wait(run);
    } catch (error) {
      if (run === this.#run) this.stop(reason(error));
    }
  }

  stop(why = ""): void {
    this.#run++;
    this.#stream?.getTracks().forEach((track) => track.stop());
    if (this.#video) this.#video.srcObject = null;
    this.#stream = this.#video = null;
    this.#on.changed(false, why);
  }

  /** The kernel has shown picture `number`. */
  answered(number: number): void {
    this.#answered = Math.max(this.#answered, number);
  }

  #wait(run: number): void {
    const video = this.#video;
    if (run !== this.#run || !video) return;
    const next = () => {
      void this.#take(run).finally(() => this.#wait(run));
    };
    if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(next);
    else requestAnimationFrame(next);
  }

  async #take(run: number): Promise<void> {
    const video = this.#video;
    const late = performance.now() - this.#sentAt > LOST;
    if (!video?.videoWidth || this.held || this.#busy || (this.#sent - this.#answered >= WINDOW && !late)) return;
    this.#busy = true;
    try {
      const [height, width] = this.size;
      const scale = Math.min(1, Math.max(width / video.videoWidth, height / video.videoHeight)); // covers the network's input
      this.#canvas.width = Math.max(1, Math.round(video.videoWidth * scale));
      this.#canvas.height = Math.max(1, Math.round(video.videoHeight * scale));
      const context = this.#canvas.getContext("2d")!;
      context.setTransform(-1, 0, 0, 1, this.#canvas.width, 0); // as in a mirror
      context.drawImage(video, 0, 0, this.#canvas.width, this.#canvas.height);
      const blob = await new Promise<Blob | null>((done) => this.#canvas.toBlob(done, "image/jpeg", QUALITY));
      const bytes = await blob?.arrayBuffer();
      if (!bytes || run !== this.#run || this.held) return;
      this.#sentAt = performance.now();
      this.#sent = this.#on.picture(bytes);
    } finally {
      this.#busy = false;
    }
  }
}

function reason(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  const why =
    name === "NotAllowedError"
      ? "the camera is not allowed here, by you or by this front end (notebooks in VS Code never allow it)"
      : name === "NotFoundError"
        ? "there is no camera"
        : name === "NotReadableError"
          ? "the camera is in use by another program"
          : `the camera does not start (${String(error)})`;
  return `${why}: open, drop or paste pictures instead`;
}
