import marks


class EncoderRunner:
    def __init__(self, model, cudagraph_manager):
        self.model = model
        self.cudagraph_manager = cudagraph_manager

    def has_cudagraph(self):
        return self.cudagraph_manager is not None

    def capture(self):
        self.cudagraph_manager.capture()

    def execute_mm_encoder(self, items):
        with marks.phase(marks.ENCODER):
            if self.cudagraph_manager is None or not self.cudagraph_manager.execute(items):
                self.model.embed_multimodal(items)
        return items
