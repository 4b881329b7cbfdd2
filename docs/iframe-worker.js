// The search runs in a worker, and a page opened from a file may not start one. There a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc = "<!doctype html><title>Search</title><script>postMessage = data => parent.postMessage(data, '*')" +
        `</${"script"}><script src="${String(url).replaceAll('"', "%22")}"></${"script"}>`
      this.ready = new Promise(done => { this.frame.onload = done })
      document.documentElement.append(this.frame)
      addEventListener("message", event => {
        if (event.source !== this.frame.contentWindow) return
        this.dispatchEvent(new MessageEvent("message", { data: event.data }))
      })
    }
    postMessage(data) {
      const message = { data }
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", message)))
    }
  }
}
