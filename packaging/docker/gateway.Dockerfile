# A Node gateway's image with sexton above the gateway, in the place of tini.
#
#   docker build --file packaging/docker/gateway.Dockerfile --tag sexton-gateway packaging/docker
#
# --build-arg GATEWAY=IMAGE takes another gateway's image; CMD is then that gateway's own.
ARG SEXTON=sexton:0.1.0
ARG GATEWAY=ghcr.io/openclaw/openclaw:2026.5.22

FROM ${SEXTON} AS sexton

FROM ${GATEWAY}
USER root
COPY --from=sexton /usr/bin/sexton /usr/bin/sexton-watch /usr/bin/
# sexton-sh is the gateway's SHELL. The state directory belongs to the gateway's user, and so does a new volume there.
RUN ln -sf sexton /usr/bin/sexton-sh && \
    mkdir -p /home/node/.openclaw && \
    chown 1000:1000 /home/node /home/node/.openclaw
COPY sexton.toml /etc/sexton/sexton.toml

USER 1000:1000
ENV HOME=/home/node

# What begins the stop ladder, as it does everywhere else. Give the engine ten seconds more than the windows of
# sexton.toml: docker run --stop-timeout 45, or stop_grace_period in compose.yaml.
STOPSIGNAL SIGTERM

# What sexton-watch has measured last. Right after it says "ready", OpenClaw was seen to be silent for 41 seconds.
# The first question comes after one interval, so that it is short: it costs a look at what is known already. Docker 25
# and podman 5 have an interval for the start (--start-interval=2s), and then --interval=30s is enough; older ones refuse it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s --retries=3 CMD ["/usr/bin/sexton", "health"]

ENTRYPOINT ["/usr/bin/sexton", "--"]
# Behind an ENTRYPOINT the gateway image's own CMD does not count.
CMD ["node", "openclaw.mjs", "gateway", "run", "--bind", "lan", "--port", "18789"]
