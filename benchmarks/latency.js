// What latency.py does in the page: know painted pictures again, and move the slider.
{
  const now = () => performance.timeOrigin + performance.now();
  const received = [];
  const painted = new MessageChannel();
  let loaded = null;
  window.shown = []; // [ms, temperature] of every picture
  painted.port1.onmessage = ({data}) => shown.push([now(), data]);

  // the sum of squares of all pixels tells one noisy picture from the next, in whatever order the pixels stand
  const sign = (pixels, every) => {
    let sum = 0;
    for (let i = 0; i < pixels.length; i += every) sum += pixels[i] * pixels[i];
    return sum;
  };
  window.listen = () => {
    const {kernel} = window.jupyterapp.shell.currentWidget.sessionContext.session;
    kernel.anyMessage.connect((_, {msg, direction}) => {
      const frame = msg.content?.data?.content;
      if (direction !== "recv" || frame?.kind !== "frame" || frame.panes[0].name !== "sample") return;
      let at = 0;
      for (const still of [frame, ...(frame.earlier ?? [])]) {
        const buffer = msg.buffers[at];
        at += still.panes.length;
        const bytes = ArrayBuffer.isView(buffer)
          ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
        received.push({sum: sign(bytes, 1), temperature: still.made_at});
      }
      received.splice(0, Math.max(0, received.length - 50));
    });
  };
  const {putImageData, drawImage} = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.putImageData = function (image, ...where) {
    const sum = sign(image.data, 4);
    loaded = received.findLast((frame) => frame.sum === sum) ?? loaded;
    return putImageData.call(this, image, ...where);
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...what) {
    if (loaded && this.canvas.matches(".ldam-canvas")) {
      painted.port2.postMessage(loaded.temperature);
      loaded = null;
    }
    return drawImage.apply(this, what);
  };

  window.move = async (ticks, [least, most]) => {
    const slider = [...document.querySelectorAll(".ldam input[type=range]")]
      .find((input) => input.labels[0]?.textContent === "temperature");
    const box = document.querySelector('.ldam input[aria-label="temperature value"]');
    const home = Number(slider.value);
    const moved = [];
    for (const tick of ticks) {
      await new Promise((done) => setTimeout(done, least + (most - least) * Math.random()));
      slider.value = home + tick;
      const at = now();
      slider.dispatchEvent(new Event("input", {bubbles: true}));
      moved.push([at, Number(box.value)]);
    }
    return moved;
  };
}
