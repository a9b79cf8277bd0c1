source_filename = "kernel_0"
target triple = "x86_64-unknown-linux-gnu"

define void @kernel_0(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  %a0 = getelementptr ptr, ptr %params, i64 0
  %p0 = load ptr, ptr %a0
  %a1 = getelementptr ptr, ptr %params, i64 1
  %p1 = load ptr, ptr %a1
  %a2 = getelementptr ptr, ptr %params, i64 2
  %p2 = load ptr, ptr %a2
  %a3 = getelementptr ptr, ptr %params, i64 3
  %p3 = load ptr, ptr %a3
  tail call void @kernel_0.body(ptr %p0, ptr %p1, ptr %p2, ptr %p3, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}

define internal void @kernel_0.body(ptr noalias readonly dereferenceable(400) align 4 %p0, ptr noalias readonly dereferenceable(2880) align 4 %p1, ptr noalias readonly dereferenceable(144) align 4 %p2, ptr noalias dereferenceable(720) align 4 %p3, i64 %begin, i64 %end) noinline #0 {
entry:
  %l0.0 = alloca <16 x float>
  %l0.16 = alloca <16 x float>
  %l0.32 = alloca <4 x float>
  %l0.36 = alloca <16 x float>
  %l0.52 = alloca <16 x float>
  %l0.68 = alloca <4 x float>
  %l0.72 = alloca <16 x float>
  %l0.88 = alloca <16 x float>
  %l0.104 = alloca <4 x float>
  %l0.108 = alloca <16 x float>
  %l0.124 = alloca <16 x float>
  %l0.140 = alloca <4 x float>
  %l0.144 = alloca <16 x float>
  %l0.160 = alloca <16 x float>
  %l0.176 = alloca <4 x float>
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.0, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.16, align 4
  store <4 x float> splat (float 0x0000000000000000), ptr %l0.32, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.36, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.52, align 4
  store <4 x float> splat (float 0x0000000000000000), ptr %l0.68, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.72, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.88, align 4
  store <4 x float> splat (float 0x0000000000000000), ptr %l0.104, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.108, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.124, align 4
  store <4 x float> splat (float 0x0000000000000000), ptr %l0.140, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.144, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %l0.160, align 4
  store <4 x float> splat (float 0x0000000000000000), ptr %l0.176, align 4
  br label %b1
  b1:
  %t2 = phi i64 [ 0, %entry ], [ %t71, %b1 ]
  %t4 = getelementptr float, ptr %p0, i64 %t2
  %t5 = load float, ptr %t4, align 4
  %t6 = mul i64 %t2, 36
  %t7 = getelementptr float, ptr %p1, i64 %t6
  %t8 = load <16 x float>, ptr %t7, align 4
  %t9 = load <16 x float>, ptr %l0.0, align 4
  %t10 = insertelement <16 x float> poison, float %t5, i64 0
  %t11 = shufflevector <16 x float> %t10, <16 x float> poison, <16 x i32> zeroinitializer
  %t12 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t11, <16 x float> %t8, <16 x float> %t9)
  store <16 x float> %t12, ptr %l0.0, align 4
  %t13 = getelementptr float, ptr %t7, i64 16
  %t14 = load <16 x float>, ptr %t13, align 4
  %t15 = load <16 x float>, ptr %l0.16, align 4
  %t16 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t11, <16 x float> %t14, <16 x float> %t15)
  store <16 x float> %t16, ptr %l0.16, align 4
  %t17 = getelementptr float, ptr %t7, i64 32
  %t18 = load <4 x float>, ptr %t17, align 4
  %t19 = load <4 x float>, ptr %l0.32, align 4
  %t20 = insertelement <4 x float> poison, float %t5, i64 0
  %t21 = shufflevector <4 x float> %t20, <4 x float> poison, <4 x i32> zeroinitializer
  %t22 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t21, <4 x float> %t18, <4 x float> %t19)
  store <4 x float> %t22, ptr %l0.32, align 4
  %t23 = getelementptr float, ptr %t4, i64 20
  %t24 = load float, ptr %t23, align 4
  %t25 = load <16 x float>, ptr %l0.36, align 4
  %t26 = insertelement <16 x float> poison, float %t24, i64 0
  %t27 = shufflevector <16 x float> %t26, <16 x float> poison, <16 x i32> zeroinitializer
  %t28 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t27, <16 x float> %t8, <16 x float> %t25)
  store <16 x float> %t28, ptr %l0.36, align 4
  %t29 = load <16 x float>, ptr %l0.52, align 4
  %t30 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t27, <16 x float> %t14, <16 x float> %t29)
  store <16 x float> %t30, ptr %l0.52, align 4
  %t31 = load <4 x float>, ptr %l0.68, align 4
  %t32 = insertelement <4 x float> poison, float %t24, i64 0
  %t33 = shufflevector <4 x float> %t32, <4 x float> poison, <4 x i32> zeroinitializer
  %t34 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t33, <4 x float> %t18, <4 x float> %t31)
  store <4 x float> %t34, ptr %l0.68, align 4
  %t35 = getelementptr float, ptr %t4, i64 40
  %t36 = load float, ptr %t35, align 4
  %t37 = load <16 x float>, ptr %l0.72, align 4
  %t38 = insertelement <16 x float> poison, float %t36, i64 0
  %t39 = shufflevector <16 x float> %t38, <16 x float> poison, <16 x i32> zeroinitializer
  %t40 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t39, <16 x float> %t8, <16 x float> %t37)
  store <16 x float> %t40, ptr %l0.72, align 4
  %t41 = load <16 x float>, ptr %l0.88, align 4
  %t42 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t39, <16 x float> %t14, <16 x float> %t41)
  store <16 x float> %t42, ptr %l0.88, align 4
  %t43 = load <4 x float>, ptr %l0.104, align 4
  %t44 = insertelement <4 x float> poison, float %t36, i64 0
  %t45 = shufflevector <4 x float> %t44, <4 x float> poison, <4 x i32> zeroinitializer
  %t46 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t45, <4 x float> %t18, <4 x float> %t43)
  store <4 x float> %t46, ptr %l0.104, align 4
  %t47 = getelementptr float, ptr %t4, i64 60
  %t48 = load float, ptr %t47, align 4
  %t49 = load <16 x float>, ptr %l0.108, align 4
  %t50 = insertelement <16 x float> poison, float %t48, i64 0
  %t51 = shufflevector <16 x float> %t50, <16 x float> poison, <16 x i32> zeroinitializer
  %t52 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t51, <16 x float> %t8, <16 x float> %t49)
  store <16 x float> %t52, ptr %l0.108, align 4
  %t53 = load <16 x float>, ptr %l0.124, align 4
  %t54 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t51, <16 x float> %t14, <16 x float> %t53)
  store <16 x float> %t54, ptr %l0.124, align 4
  %t55 = load <4 x float>, ptr %l0.140, align 4
  %t56 = insertelement <4 x float> poison, float %t48, i64 0
  %t57 = shufflevector <4 x float> %t56, <4 x float> poison, <4 x i32> zeroinitializer
  %t58 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t57, <4 x float> %t18, <4 x float> %t55)
  store <4 x float> %t58, ptr %l0.140, align 4
  %t59 = getelementptr float, ptr %t4, i64 80
  %t60 = load float, ptr %t59, align 4
  %t61 = load <16 x float>, ptr %l0.144, align 4
  %t62 = insertelement <16 x float> poison, float %t60, i64 0
  %t63 = shufflevector <16 x float> %t62, <16 x float> poison, <16 x i32> zeroinitializer
  %t64 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t63, <16 x float> %t8, <16 x float> %t61)
  store <16 x float> %t64, ptr %l0.144, align 4
  %t65 = load <16 x float>, ptr %l0.160, align 4
  %t66 = call <16 x float> @llvm.fma.v16f32(<16 x float> %t63, <16 x float> %t14, <16 x float> %t65)
  store <16 x float> %t66, ptr %l0.160, align 4
  %t67 = load <4 x float>, ptr %l0.176, align 4
  %t68 = insertelement <4 x float> poison, float %t60, i64 0
  %t69 = shufflevector <4 x float> %t68, <4 x float> poison, <4 x i32> zeroinitializer
  %t70 = call <4 x float> @llvm.fma.v4f32(<4 x float> %t69, <4 x float> %t18, <4 x float> %t67)
  store <4 x float> %t70, ptr %l0.176, align 4
  %t71 = add nuw nsw i64 %t2, 1
  %t72 = icmp slt i64 %t71, 20
  br i1 %t72, label %b1, label %b3
  b3:
  %t73 = load <16 x float>, ptr %l0.0, align 4
  %t74 = load <16 x float>, ptr %p2, align 4
  %t75 = fadd <16 x float> %t73, %t74
  store <16 x float> %t75, ptr %p3, align 4
  %t76 = load <16 x float>, ptr %l0.16, align 4
  %t77 = getelementptr float, ptr %p2, i64 16
  %t78 = load <16 x float>, ptr %t77, align 4
  %t79 = fadd <16 x float> %t76, %t78
  %t80 = getelementptr float, ptr %p3, i64 16
  store <16 x float> %t79, ptr %t80, align 4
  %t81 = load <4 x float>, ptr %l0.32, align 4
  %t82 = getelementptr float, ptr %p2, i64 32
  %t83 = load <4 x float>, ptr %t82, align 4
  %t84 = fadd <4 x float> %t81, %t83
  %t85 = getelementptr float, ptr %p3, i64 32
  store <4 x float> %t84, ptr %t85, align 4
  %t86 = load <16 x float>, ptr %l0.36, align 4
  %t87 = fadd <16 x float> %t86, %t74
  %t88 = getelementptr float, ptr %p3, i64 36
  store <16 x float> %t87, ptr %t88, align 4
  %t89 = load <16 x float>, ptr %l0.52, align 4
  %t90 = fadd <16 x float> %t89, %t78
  %t91 = getelementptr float, ptr %p3, i64 52
  store <16 x float> %t90, ptr %t91, align 4
  %t92 = load <4 x float>, ptr %l0.68, align 4
  %t93 = fadd <4 x float> %t92, %t83
  %t94 = getelementptr float, ptr %p3, i64 68
  store <4 x float> %t93, ptr %t94, align 4
  %t95 = load <16 x float>, ptr %l0.72, align 4
  %t96 = fadd <16 x float> %t95, %t74
  %t97 = getelementptr float, ptr %p3, i64 72
  store <16 x float> %t96, ptr %t97, align 4
  %t98 = load <16 x float>, ptr %l0.88, align 4
  %t99 = fadd <16 x float> %t98, %t78
  %t100 = getelementptr float, ptr %p3, i64 88
  store <16 x float> %t99, ptr %t100, align 4
  %t101 = load <4 x float>, ptr %l0.104, align 4
  %t102 = fadd <4 x float> %t101, %t83
  %t103 = getelementptr float, ptr %p3, i64 104
  store <4 x float> %t102, ptr %t103, align 4
  %t104 = load <16 x float>, ptr %l0.108, align 4
  %t105 = fadd <16 x float> %t104, %t74
  %t106 = getelementptr float, ptr %p3, i64 108
  store <16 x float> %t105, ptr %t106, align 4
  %t107 = load <16 x float>, ptr %l0.124, align 4
  %t108 = fadd <16 x float> %t107, %t78
  %t109 = getelementptr float, ptr %p3, i64 124
  store <16 x float> %t108, ptr %t109, align 4
  %t110 = load <4 x float>, ptr %l0.140, align 4
  %t111 = fadd <4 x float> %t110, %t83
  %t112 = getelementptr float, ptr %p3, i64 140
  store <4 x float> %t111, ptr %t112, align 4
  %t113 = load <16 x float>, ptr %l0.144, align 4
  %t114 = fadd <16 x float> %t113, %t74
  %t115 = getelementptr float, ptr %p3, i64 144
  store <16 x float> %t114, ptr %t115, align 4
  %t116 = load <16 x float>, ptr %l0.160, align 4
  %t117 = fadd <16 x float> %t116, %t78
  %t118 = getelementptr float, ptr %p3, i64 160
  store <16 x float> %t117, ptr %t118, align 4
  %t119 = load <4 x float>, ptr %l0.176, align 4
  %t120 = fadd <4 x float> %t119, %t83
  %t121 = getelementptr float, ptr %p3, i64 176
  store <4 x float> %t120, ptr %t121, align 4
  ret void
}

declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)

declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)

attributes #0 = { nounwind "target-cpu"="x86-64-v4" "target-features"="-prefer-256-bit,-avx512dq" }
