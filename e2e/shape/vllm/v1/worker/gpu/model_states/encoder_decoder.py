from vllm.v1.worker.gpu.model_states.interface import ModelState


class EncoderDecoderModelState(ModelState):
    encoder_outputs = 0

    def prepare_inputs_embeds(self, scheduled_encoder_inputs):
        self.encoder_outputs = 0
        if scheduled_encoder_inputs:
            self.encoder_outputs = self.encoder_runner.execute_mm_encoder(len(scheduled_encoder_inputs))

    def prepare_inputs(self):
        return {"encoder_outputs": self.encoder_outputs}
