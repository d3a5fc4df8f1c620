// The trial's application. `cargo xtask sdk-trial --sdk PATH` copies it, points the SDK at PATH and builds it.
module quorate/sdk-trial

go 1.21

require github.com/huaweicloud/devcloud-go v0.0.0
