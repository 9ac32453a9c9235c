// A TensorFlow Lite delegate that computes float32 ADD, for the test of external delegates. The runtime's wheels ship
// no headers, so it declares the ABI that it uses (tensorflow/lite/core/c/common.h, .../c_api_types.h).
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct { float scale; int32_t zero_point; } QuantizationParams;
typedef struct { int type; void* params; } Quantization;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  float* data;
  IntArray* dims;
  QuantizationParams params;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int buffer_handle;
  _Bool data_is_stale, is_variable;
  Quantization quantization;
  void* sparsity;
  const IntArray* dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs, *intermediates, *temporaries; void* user_data; } Node;
typedef struct Registration Registration;
typedef struct Context Context;

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context*, IntArray**);
  Tensor* tensors;
  void* impl;
  int (*ResizeTensor)(Context*, Tensor*, IntArray*);
  void (*ReportError)(Context*, const char*, ...);
  int (*AddTensors)(Context*, int, int*);
  int (*GetNodeAndRegistration)(Context*, int, Node**, Registration**);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray*, Delegate*);
};

struct Registration {
  void* (*init)(Context*, const char*, size_t);
  void (*free)(Context*, void*);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* later_fields[16];
};

typedef struct { Delegate* delegate; IntArray *nodes, *inputs, *outputs; } Params;

struct Delegate {
  void* data;
  int (*Prepare)(Context*, Delegate*);
  void* copy_from_buffer;
  void* copy_to_buffer;
  void* free_buffer;
  int64_t flags;
  void* opaque_builder;
};

enum { kAdd = 0, kFloat32 = 1, kDelegate = 51 };

typedef struct { int count; int (*triples)[3]; } Sums;

static void* Init(Context* context, const char* buffer, size_t length) {
  (void)length;  // the runtime passes Params here
  const Params* params = (const Params*)buffer;
  Sums* sums = malloc(sizeof *sums);
  sums->count = params->nodes->size;
  sums->triples = malloc(sizeof(int[3]) * (size_t)sums->count);
  for (int i = 0; i < sums->count; ++i) {
    Node* node;
    Registration* registration;
    context->GetNodeAndRegistration(context, params->nodes->data[i], &node, &registration);
    sums->triples[i][0] = node->inputs->data[0];
    sums->triples[i][1] = node->inputs->data[1];
    sums->triples[i][2] = node->outputs->data[0];
  }
  return sums;
}

static void Free(Context* context, void* data) {
  (void)context;
  free(((Sums*)data)->triples);
  free(data);
}

static int KernelPrepare(Context* context, Node* node) { (void)context; (void)node; return 0; }

static int Invoke(Context* context, Node* node) {
  const Sums* sums = node->user_data;
  for (int i = 0; i < sums->count; ++i) {
    const int* triple = sums->triples[i];
    Tensor* output = &context->tensors[triple[2]];
    for (size_t j = 0; j < output->bytes / sizeof(float); ++j)
      output->data[j] = context->tensors[triple[0]].data[j] + context->tensors[triple[1]].data[j];
  }
  return 0;
}

static int Prepare(Context* context, Delegate* delegate) {
  IntArray* plan;
  if (context->GetExecutionPlan(context, &plan)) return 1;
  IntArray* wanted = malloc(sizeof(IntArray) + sizeof(int) * (size_t)plan->size);
  wanted->size = 0;
  for (int i = 0; i < plan->size; ++i) {
    Node* node;
    Registration* registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration)) return 1;
    if (registration->builtin_code == kAdd && context->tensors[node->outputs->data[0]].type == kFloat32)
      wanted->data[wanted->size++] = plan->data[i];
  }
  Registration kernel = {Init, Free, KernelPrepare, Invoke, NULL, kDelegate, "TestAddDelegate", 1, {0}};
  int status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, wanted, delegate);
  free(wanted);
  return status;
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report_error)(const char*)) {
  (void)keys; (void)values; (void)count; (void)report_error;
  Delegate* delegate = calloc(1, sizeof *delegate);
  delegate->Prepare = Prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
