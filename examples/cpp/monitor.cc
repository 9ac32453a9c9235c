// Watches raw RGB frames with a detector file, without Python: monitor detector.tflite [cpu|gpu] < frames.rgb
//
// The file's graph holds the whole detector (leanood calibrate --fold=full). Each frame on standard input has the size
// that the graph takes; each line on standard output is what `leanood monitor --source=- --jsonl=-` prints of it.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "litert.h"

namespace {

void Check(LiteRtStatus status, const char* what) {
  if (status == 0) return;
  std::fprintf(stderr, "monitor: LiteRT could not %s (status %d)\n", what, status);
  std::exit(2);
}

struct Tensor {
  LiteRtTensorBuffer buffer = nullptr;
  bool bytes = false;  // uint8 instead of float32
  size_t count = 1;

  void Write(const void* data) {
    void* memory = nullptr;
    Check(LiteRtLockTensorBuffer(buffer, &memory, kLiteRtTensorBufferLockModeWrite), "write an input");
    std::memcpy(memory, data, count * (bytes ? 1 : sizeof(float)));
    Check(LiteRtUnlockTensorBuffer(buffer), "write an input");
  }
  std::vector<float> Read() {
    std::vector<float> values(count);
    void* memory = nullptr;
    Check(LiteRtLockTensorBuffer(buffer, &memory, kLiteRtTensorBufferLockModeRead), "read an output");
    std::memcpy(values.data(), memory, count * sizeof(float));
    Check(LiteRtUnlockTensorBuffer(buffer), "read an output");
    return values;
  }
};

// One side of the model: its buffers, and which is which by the signature's names.
struct Side {
  std::vector<LiteRtTensorBuffer> buffers;
  std::map<std::string, Tensor> named;

  void Add(LiteRtEnvironment environment, const char* name, LiteRtTensor tensor, LiteRtTensorBufferRequirements needs) {
    LiteRtRankedTensorType type;
    Check(LiteRtGetRankedTensorType(tensor, &type), "tell a tensor's shape");
    Tensor one;
    for (uint32_t i = 0; i < (type.layout.rank_and_strides & 0x7f); ++i) one.count *= type.layout.dimensions[i];
    one.bytes = type.element_type == kLiteRtElementTypeUInt8;
    Check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &one.buffer), "make a buffer");
    buffers.push_back(one.buffer);
    named[name] = one;
  }
};

// JSON has no infinity.
std::string Number(float value) {
  if (!std::isfinite(value) || std::fabs(value) > 1e29f) return "null";
  char text[32];
  std::snprintf(text, sizeof text, "%.7g", value);
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: monitor detector.tflite [cpu|gpu] < frames.rgb\n");
    return 2;
  }
  const bool gpu = argc > 2 && std::strcmp(argv[2], "gpu") == 0;
  LiteRtEnvironment environment;
  LiteRtModel model;
  LiteRtSignature signature;
  LiteRtOptions options;
  LiteRtCompiledModel compiled;
  Check(LiteRtCreateEnvironment(0, nullptr, &environment), "begin");
  Check(LiteRtCreateModelFromFile(environment, argv[1], &model), "read the detector file");
  Check(LiteRtGetModelSignature(model, 0, &signature), "find the file's signature");
  Check(LiteRtCreateOptions(&options), "begin");
  Check(LiteRtSetOptionsHardwareAccelerators(options, gpu ? kLiteRtHwAcceleratorGpu : kLiteRtHwAcceleratorCpu), "begin");
  Check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compile the graph");

  Side inputs, outputs;
  LiteRtParamIndex count = 0;
  const char* name;
  LiteRtTensor tensor;
  LiteRtTensorBufferRequirements needs;
  Check(LiteRtGetNumSignatureInputs(signature, &count), "count the inputs");
  for (LiteRtParamIndex i = 0; i < count; ++i) {
    Check(LiteRtGetSignatureInputName(signature, i, &name), "name an input");
    Check(LiteRtGetSignatureInputTensorByIndex(signature, i, &tensor), "find an input");
    Check(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, i, &needs), "size an input");
    inputs.Add(environment, name, tensor, needs);
  }
  Check(LiteRtGetNumSignatureOutputs(signature, &count), "count the outputs");
  for (LiteRtParamIndex i = 0; i < count; ++i) {
    Check(LiteRtGetSignatureOutputName(signature, i, &name), "name an output");
    Check(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor), "find an output");
    Check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, i, &needs), "size an output");
    outputs.Add(environment, name, tensor, needs);
  }
  if (!inputs.named.count("frame") || !outputs.named.count("alarm")) {
    std::fprintf(stderr, "monitor: %s holds no whole detector; make it with leanood calibrate --fold=full\n", argv[1]);
    return 2;
  }

  Tensor& input = inputs.named["frame"];
  const bool sequence = inputs.named.count("state") > 0;
  std::vector<float> state(sequence ? inputs.named["state"].count : 0, 0.0f);  // zeros begin a sequence
  std::vector<unsigned char> frame(input.count);
  std::vector<float> real(input.bytes ? 0 : input.count);
  bool before = false;
  for (long number = 0; std::fread(frame.data(), 1, frame.size(), stdin) == frame.size(); ++number) {
    for (size_t i = 0; i < real.size(); ++i) real[i] = frame[i] / 255.0f;
    input.Write(input.bytes ? static_cast<const void*>(frame.data()) : real.data());
    if (sequence) inputs.named["state"].Write(state.data());
    Check(LiteRtRunCompiledModel(compiled, 0, inputs.buffers.size(), inputs.buffers.data(), outputs.buffers.size(),
                                 outputs.buffers.data()), "run the graph");
    if (sequence) state = outputs.named["state"].Read();
    const bool alarm = outputs.named["alarm"].Read()[0] > 0.5f;
    const float odd = outputs.named["nonconformity"].Read()[0];
    std::printf("{\"frame\": %ld, \"name\": \"stdin[%ld]\", \"score\": %s, \"p_value\": %s, \"nonconformity\": %s, "
                "\"alarm\": %s, \"raised\": %s, \"invalid\": %s}\n", number, number,
                Number(outputs.named["score"].Read()[0]).c_str(), Number(outputs.named["p_value"].Read()[0]).c_str(),
                Number(odd).c_str(), alarm ? "true" : "false", alarm && !before ? "true" : "false",
                odd > 1e29f ? "true" : "false");
    std::fflush(stdout);
    before = alarm;
  }
  return 0;
}
