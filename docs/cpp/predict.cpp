// Runs a model exported by `mmvit export --format aoti` on an image: predict MODEL.pt2 IMAGE.ppm [OPERATORS.so]
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <fstream>
#include <iostream>

using torch::inductor::AOTIModelPackageLoader;

// Reads a binary PPM file into an RGB uint8 tensor of shape (height, width, 3).
at::Tensor read_ppm(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int64_t width = 0, height = 0, largest = 0;
  file >> kind >> width >> height >> largest;
  TORCH_CHECK(file && kind == "P6" && largest == 255, path, " is not a binary PPM file with 8 bits per channel and without comments");
  file.get();
  auto image = at::empty({height, width, 3}, at::kByte);
  file.read(reinterpret_cast<char*>(image.data_ptr()), image.numel());
  TORCH_CHECK(file, path, " is truncated");
  return image;
}

int main(int count, char** arguments) {
  TORCH_CHECK(count == 3 || count == 4, "usage: predict MODEL.pt2 IMAGE.ppm [OPERATORS.so]");
  if (count == 4) TORCH_CHECK(dlopen(arguments[3], RTLD_NOW | RTLD_GLOBAL), dlerror());  // the C++ operators
  c10::InferenceMode guard;
  const auto image = read_ppm(arguments[2]).unsqueeze(0);  // a batch of one
  auto values = AOTIModelPackageLoader(arguments[1], "preprocess").run({image});
  values = AOTIModelPackageLoader(arguments[1], "network").run(values);
  values.insert(values.begin(), image);
  for (const auto& output : AOTIModelPackageLoader(arguments[1], "postprocess").run(values)) {
    std::cout << output.sizes();  // (1, classes) or (1, height, width)
    const auto numbers = output.flatten().to(at::kDouble);
    for (int64_t i = 0; i < numbers.numel(); ++i) std::cout << ' ' << numbers[i].item<double>();
    std::cout << '\n';
  }
}
