# longimorph with all that it needs: docker build -t longimorph .    How to run it: docs/installation.md
FROM debian:bookworm-slim
COPY . /opt/longimorph/source
RUN sh /opt/longimorph/source/containers/install.sh
ENV PATH="/opt/longimorph/bin:${PATH}"
WORKDIR /study
ENTRYPOINT ["longimorph"]
